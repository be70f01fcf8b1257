package store

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

func sample() *Manifest {
	content := HashBlob([]byte("content"))
	return &Manifest{
		Entries: []Entry{
			{Path: "run", Type: Exec, Digest: content.Digest, Size: content.Size},
			{Path: "a/<b>&é", Type: File, Digest: content.Digest, Size: content.Size},
			{Path: "a-b", Type: Symlink, Target: "a/<b>&é"},
			{Path: "empty", Type: Dir},
		},
		Publish: []Publication{
			{Path: "web/link", Link: "web/file"},
			{Path: "web/file", File: "a/<b>&é", Sign: SignRelease},
		},
		Lines: []Line{{File: "meta/index", Key: "k2", Line: "two"}, {File: "meta/index", Key: "k1", Line: "one;"}},
	}
}

// TestManifestGolden holds the canonical form: a change of it changes every artifact's id.
func TestManifestGolden(t *testing.T) {
	got, err := sample().Encode()
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile("testdata/manifest.json")
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	const id = "3a2a51525759c2e652e006f475ad19a627d56722c361e71903f8f04d81dd3f2e"
	if got := HashArtifact(want).String(); got != id {
		t.Errorf("id %s, want %s", got, id)
	}
	m, err := DecodeManifest(want)
	if err != nil {
		t.Fatal(err)
	}
	if e, ok := m.Lookup("a-b"); !ok || e.Target != "a/<b>&é" {
		t.Errorf("Lookup(a-b) = %v, %v", e, ok)
	}
	if _, ok := m.Lookup("a"); ok {
		t.Error("Lookup finds a parent, which is not listed")
	}
	if m.Size() != 14 {
		t.Errorf("Size() = %d, want 14", m.Size())
	}
}

func TestEmptyManifest(t *testing.T) {
	b, err := (&Manifest{}).Encode()
	if err != nil || string(b) != `{"entries":[]}` {
		t.Errorf("got %s, %v", b, err)
	}
}

func TestManifestRefuses(t *testing.T) {
	content := HashBlob([]byte("content"))
	file := func(p string) Entry { return Entry{Path: p, Type: File, Digest: content.Digest, Size: content.Size} }
	link := func(p, target string) Entry { return Entry{Path: p, Type: Symlink, Target: target} }
	publish := func(p ...Publication) *Manifest { return &Manifest{Entries: []Entry{file("f")}, Publish: p} }
	for name, c := range map[string]struct {
		m    *Manifest
		want string
	}{
		"absolute path":        {&Manifest{Entries: []Entry{file("/etc/passwd")}}, "clean relative path"},
		"path up":              {&Manifest{Entries: []Entry{file("../x")}}, "clean relative path"},
		"path up inside":       {&Manifest{Entries: []Entry{file("a/../../x")}}, "clean relative path"},
		"empty path":           {&Manifest{Entries: []Entry{file("")}}, "clean relative path"},
		"newline":              {&Manifest{Entries: []Entry{file("a\nb")}}, "clean relative path"},
		"not UTF-8":            {&Manifest{Entries: []Entry{file("a\xff")}}, "clean relative path"},
		"listed twice":         {&Manifest{Entries: []Entry{file("a"), file("a")}}, "listed twice"},
		"file as folder":       {&Manifest{Entries: []Entry{file("a"), file("a/b")}}, "not a directory"},
		"through a link":       {&Manifest{Entries: []Entry{link("a", "b"), file("a/b/c")}}, "not a directory"},
		"empty folder is not":  {&Manifest{Entries: []Entry{{Path: "a", Type: Dir}, file("a/b")}}, "not a directory"},
		"absolute link":        {&Manifest{Entries: []Entry{link("a", "/etc/passwd")}}, "leads out"},
		"link up":              {&Manifest{Entries: []Entry{link("a/b", "../../etc")}}, "leads out"},
		"link to the root":     {&Manifest{Entries: []Entry{link("a/b", "..")}}, "leads out"},
		"link through a link":  {&Manifest{Entries: []Entry{link("p/q/r/l", "../../s"), link("m", "p/q/r/l/../../../x")}}, "leads out"},
		"link without target":  {&Manifest{Entries: []Entry{link("a", "")}}, "target"},
		"link target no UTF-8": {&Manifest{Entries: []Entry{link("a", "b\xff")}}, "leads out"},
		"folder with content":  {&Manifest{Entries: []Entry{{Path: "a", Type: Dir, Size: 1}}}, "no content"},
		"negative size":        {&Manifest{Entries: []Entry{{Path: "a", Type: File, Digest: content.Digest, Size: -1}}}, "size"},
		"no digest":            {&Manifest{Entries: []Entry{{Path: "a", Type: File}}}, "not a SHA-256"},
		"digest with a path":   {&Manifest{Entries: []Entry{{Path: "a", Type: File, Digest: "sha256:../../x"}}}, "not a SHA-256"},
		"digest in capitals":   {&Manifest{Entries: []Entry{{Path: "a", Type: File, Digest: "sha256:" + digest.Digest(strings.ToUpper(content.Digest.Encoded()))}}}, "not a SHA-256"},
		"digest cut short":     {&Manifest{Entries: []Entry{{Path: "a", Type: File, Digest: content.Digest[:70]}}}, "not a SHA-256"},
		"another digest":       {&Manifest{Entries: []Entry{{Path: "a", Type: File, Digest: digest.SHA512.FromString("content")}}}, "not a SHA-256"},
		"unknown type":         {&Manifest{Entries: []Entry{{Path: "a", Type: "fifo"}}}, "unknown type"},
		"publish up":           {publish(Publication{Path: "../x", File: "f"}), "clean relative path"},
		"publish nothing":      {publish(Publication{Path: "x"}), "either a file or a link"},
		"publish both":         {publish(Publication{Path: "x", File: "f", Link: "y"}), "either a file or a link"},
		"publish link up":      {publish(Publication{Path: "x", Link: "../y"}), "not a clean relative path"},
		"publish missing":      {publish(Publication{Path: "x", File: "g"}), `no file "g"`},
		"publish twice":        {publish(Publication{Path: "x", File: "f"}, Publication{Path: "x", Link: "y"}), "listed twice"},
		"unknown signature":    {publish(Publication{Path: "x", File: "f", Sign: "rot13"}), "unknown signature"},
		"line of two lines":    {&Manifest{Lines: []Line{{File: "i", Key: "k", Line: "a\nb"}}}, "one line"},
		"line without key":     {&Manifest{Lines: []Line{{File: "i", Line: "a"}}}, "a key"},
		"line twice":           {&Manifest{Lines: []Line{{File: "i", Key: "k"}, {File: "i", Key: "k", Line: "x"}}}, "listed twice"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := c.m.Encode()
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Encode: %v, want an error with %q", err, c.want)
			}
		})
	}
}

func TestLinksThatStayInside(t *testing.T) {
	for name, target := range map[string]string{
		"a": "b", "a/b": "../c", "lib64": "lib/", "x/y/z": "../../w/v", "x/y": "./z", "m": "lib64/python3",
	} {
		if !staysInside(name, target) {
			t.Errorf("link %s -> %s is refused", name, target)
		}
	}
}

func TestDecodeManifestRefusesOtherForms(t *testing.T) {
	b, err := sample().Encode()
	if err != nil {
		t.Fatal(err)
	}
	good := string(b)
	for name, bad := range map[string]string{
		"nothing":       "",
		"null":          "null",
		"white space":   strings.Replace(good, ",", ", ", 1),
		"newline":       good + "\n",
		"more":          good + "{}",
		"unknown key":   strings.Replace(good, `{"entries"`, `{"owner":"root","entries"`, 1),
		"twice a key":   strings.Replace(good, `{"entries"`, `{"entries":[],"entries"`, 1),
		"case of a key": strings.Replace(good, `"entries"`, `"Entries"`, 1),
		"order":         `{"entries":[{"path":"b","type":"dir"},{"path":"a","type":"dir"}]}`,
		"escapes":       strings.Replace(good, "<", `\u003c`, 1),
		"empty list":    `{"entries":[],"publish":[]}`,
	} {
		if _, err := DecodeManifest([]byte(bad)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func BenchmarkDecodeManifest(b *testing.B) {
	m := &Manifest{}
	for i := range 10_000 {
		content := HashBlob(fmt.Append(nil, i))
		m.Entries = append(m.Entries, Entry{Path: fmt.Sprintf("usr/share/doc/%d/copyright", i), Type: File, Digest: content.Digest, Size: content.Size})
	}
	text, err := m.Encode()
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if _, err := DecodeManifest(text); err != nil {
			b.Fatal(err)
		}
	}
}

func FuzzDecodeManifest(f *testing.F) {
	b, err := sample().Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"entries":[{"path":"a/b","type":"symlink","target":"../c"}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := DecodeManifest(b)
		if err != nil {
			return
		}
		again, err := m.Encode()
		if err != nil || string(again) != string(b) {
			t.Errorf("%q becomes %q, %v", b, again, err)
		}
	})
}
