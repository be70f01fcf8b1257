package archive

import (
	"archive/tar"
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// member is one member of a tar to be made.
type member struct {
	tar.Header
	content string
}

func file(name, content string) member {
	return member{tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(content))}, content}
}

func link(kind byte, name, target string) member {
	return member{Header: tar.Header{Typeflag: kind, Name: name, Linkname: target, Mode: 0o777}}
}

func directory(name string) member {
	return member{Header: tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: 0o755}}
}

func makeTar(t testing.TB, members ...member) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, m := range members {
		if err := w.WriteHeader(&m.Header); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, m.content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// prison is a folder to unpack in, beside a file that nobody may touch.
func prison(t *testing.T) (dir, outside string) {
	t.Helper()
	parent := t.TempDir()
	dir, outside = filepath.Join(parent, "dir"), filepath.Join(parent, "outside")
	do(t, os.Mkdir(dir, 0o755), os.WriteFile(outside, []byte("untouched"), 0o644))
	return dir, outside
}

func checkPrison(t *testing.T, outside string) {
	t.Helper()
	b, err := os.ReadFile(outside)
	if err != nil || string(b) != "untouched" {
		t.Errorf("the file outside: %q, %v", b, err)
	}
	entries, err := os.ReadDir(filepath.Dir(outside))
	if err != nil || len(entries) != 2 {
		t.Errorf("outside there are now %v, %v", entries, err)
	}
}

func TestUnpackHostile(t *testing.T) {
	_, absolute := prison(t)
	for name, c := range map[string]struct {
		members []member
		want    string // in the error; empty: it unpacks, inside
	}{
		"parent":                {[]member{file("../outside", "x")}, "leads upwards"},
		"parent below":          {[]member{file("a/../../outside", "x")}, "leads upwards"},
		"absolute":              {[]member{file(absolute, "x")}, "is absolute"},
		"absolute dir":          {[]member{directory("/etc/")}, "is absolute"},
		"through a link":        {[]member{link(tar.TypeSymlink, "l", ".."), file("l/outside", "x")}, ""},
		"through two links":     {[]member{link(tar.TypeSymlink, "l", "m"), link(tar.TypeSymlink, "m", "../.."), file("l/outside", "x")}, ""},
		"through an absolute":   {[]member{directory("d"), link(tar.TypeSymlink, "l", "/d"), file("l/outside", "x")}, ""},
		"absolute out":          {[]member{link(tar.TypeSymlink, "l", filepath.Dir(absolute)), file("l/outside", "x")}, "mkdir l: file exists"},
		"over a link":           {[]member{link(tar.TypeSymlink, "l", "../outside"), file("l", "x")}, ""},
		"dir over a link out":   {[]member{link(tar.TypeSymlink, "l", "../outside"), directory("l")}, "in the way"},
		"hard link out":         {[]member{link(tar.TypeLink, "h", "../outside"), file("h", "x")}, "leads upwards"},
		"hard link absolute":    {[]member{link(tar.TypeLink, "h", absolute)}, "is absolute"},
		"hard link by a link":   {[]member{link(tar.TypeSymlink, "l", ".."), link(tar.TypeLink, "h", "l/outside")}, "hard link to"},
		"hard link to a link":   {[]member{link(tar.TypeSymlink, "l", "../outside"), link(tar.TypeLink, "h", "l"), file("h", "x")}, ""},
		"hard link to itself":   {[]member{file("f", "x"), link(tar.TypeLink, "f", "f")}, "hard link to"},
		"link that turns":       {[]member{link(tar.TypeSymlink, "l", "l"), file("l/x", "x")}, "open directory"},
		"file over a directory": {[]member{directory("d"), file("d/f", "x"), file("d", "x")}, "replace what is there"},
		"the root as a file":    {[]member{link(tar.TypeSymlink, ".", "x")}, "the root is no directory"},
		"magic link":            {[]member{link(tar.TypeSymlink, "l", "/proc/self/cwd"), file("l/x", "x")}, "mkdir l: file exists"},
	} {
		t.Run(name, func(t *testing.T) {
			dir, outside := prison(t)
			err := Unpack(bytes.NewReader(makeTar(t, c.members...)), dir)
			switch {
			case c.want == "" && err != nil:
				t.Error(err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("got error %v, want one with %q", err, c.want)
			}
			checkPrison(t, outside)
		})
	}
}

func TestUnpackHugeSize(t *testing.T) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	do(t, w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "huge", Size: 1 << 62}))
	b.WriteString("a few bytes")
	dir, _ := prison(t)
	if err := Unpack(&b, dir); err == nil || !strings.Contains(err.Error(), "unexpected EOF") {
		t.Errorf("got %v", err)
	}
}

// TestUnpackSparse holds that a few bytes cannot ask for an exabyte of zeros.
func TestUnpackSparse(t *testing.T) {
	m := file("sparse", "1\n0\n0\n"+strings.Repeat("\x00", 506))
	m.PAXRecords = map[string]string{"XXX.sparse.major": "1", "XXX.sparse.minor": "0", "XXX.sparse.realsize": "1152921504606846976"}
	b := bytes.ReplaceAll(makeTar(t, m), []byte("XXX."), []byte("GNU.")) // the writer refuses to
	dir, _ := prison(t)
	if err := Unpack(bytes.NewReader(b), dir); err == nil || !strings.Contains(err.Error(), "sparse") {
		t.Errorf("got %v", err)
	}
}

// TestUnpackMergedUsr unpacks as Debian's packages do: /lib is a link, and some still ship /lib/x.
func TestUnpackMergedUsr(t *testing.T) {
	dir, _ := prison(t)
	do(t,
		Unpack(bytes.NewReader(makeTar(t, directory("./"), directory("./usr/"), directory("./usr/lib/"), link(tar.TypeSymlink, "./lib", "usr/lib"))), dir),
		Unpack(bytes.NewReader(makeTar(t, directory("./"), directory("./lib/"), file("./lib/old", "x"))), dir),
	)
	if target, err := os.Readlink(filepath.Join(dir, "lib")); err != nil || target != "usr/lib" {
		t.Errorf("the link is gone: %q, %v", target, err)
	}
	if _, err := os.Lstat(filepath.Join(dir, "usr/lib/old")); err != nil {
		t.Error(err)
	}
}

func TestUnpackReplaces(t *testing.T) {
	dir, _ := prison(t)
	do(t, Unpack(bytes.NewReader(makeTar(t, file("a", "old"), link(tar.TypeLink, "b", "a"), file("a", "new"))), dir))
	for name, want := range map[string]string{"a": "new", "b": "old"} {
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(got) != want {
			t.Errorf("%s: got %q, %v, want %q", name, got, err, want)
		}
	}
}

func TestUnpackTruncated(t *testing.T) {
	b := makeTar(t, file("a", strings.Repeat("x", 1000)))
	dir, _ := prison(t)
	if err := Unpack(bytes.NewReader(b[:700]), dir); err == nil {
		t.Error("a truncated tar was unpacked")
	}
}

func FuzzUnpack(f *testing.F) {
	f.Add(makeTar(f, file("a", "content"), link(tar.TypeSymlink, "l", ".."), file("l/outside", "x")))
	f.Add(makeTar(f, directory("d"), link(tar.TypeLink, "h", "d/../outside"), file("../outside", "x")))
	f.Fuzz(func(t *testing.T, b []byte) {
		dir, outside := prison(t)
		_ = Unpack(bytes.NewReader(b), dir) // any answer will do, inside
		checkPrison(t, outside)
	})
}
