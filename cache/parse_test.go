package cache

import (
	"bytes"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/rcbops/rpcbuild/store"
)

var (
	zeros = strings.Repeat("0", 63)
	gold7 = bundleRef{Digest: "sha256:" + digest.Digest(zeros) + "7", Size: 70}
	gold8 = bundleRef{Digest: "sha256:" + digest.Digest(zeros) + "8", Size: 80}
	goldA = entry{hint{drv(zeros + "1"), artifact(zeros + "2")}, 3, gold7, gold8}
	goldB = entry{hint{drv(zeros + "4"), artifact(zeros + "5")}, 60, gold7, bundleRef{}}
)

func drv(s string) store.DrvID {
	id, err := store.ParseDrvID(s)
	if err != nil {
		panic(err)
	}
	return id
}

func artifact(s string) store.ArtifactID {
	id, err := store.ParseArtifactID(s)
	if err != nil {
		panic(err)
	}
	return id
}

const goldGeneration = "bundle 0000000000000000000000000000000000000000000000000000000000000007 70\n" +
	"bundle 0000000000000000000000000000000000000000000000000000000000000008 80\n" +
	"0000000000000000000000000000000000000000000000000000000000000001 0000000000000000000000000000000000000000000000000000000000000002 3 0 1\n" +
	"0000000000000000000000000000000000000000000000000000000000000004 0000000000000000000000000000000000000000000000000000000000000005 60 0 -\n"

func TestGenerationGolden(t *testing.T) {
	g := newGeneration([]entry{goldB, goldA})
	if got := string(g.encode()); got != goldGeneration {
		t.Errorf("generation:\n%s", got)
	}
	if len(g.of(goldA.drv)) != 1 || len(g.of(drv(zeros+"3"))) != 0 || !g.has(goldB.hint) {
		t.Error("rows are not found")
	}
	if got := newGeneration(g.entries()).encode(); string(got) != goldGeneration {
		t.Errorf("generation, from its entries:\n%s", got)
	}
}

func TestParseGenerationRefuses(t *testing.T) {
	lines := strings.SplitAfter(goldGeneration, "\n")
	for name, text := range map[string]string{
		"order":     lines[0] + lines[1] + lines[3] + lines[2],
		"twice":     lines[0] + lines[1] + lines[2] + lines[2],
		"bundle":    lines[2],
		"late":      lines[1] + lines[3] + lines[0],
		"no end":    strings.TrimSuffix(goldGeneration, "\n"),
		"size":      strings.Replace(goldGeneration, " 3 ", " 03 ", 1),
		"negative":  strings.Replace(goldGeneration, " 3 ", " -3 ", 1),
		"fields":    strings.Replace(goldGeneration, " 3 ", " 3 4 ", 1),
		"id":        strings.Replace(goldGeneration, "01 ", "0x ", 1),
		"separator": strings.ReplaceAll(goldGeneration, " ", "\t"),
	} {
		if _, err := parseGeneration([]byte(text)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestReleaseGolden(t *testing.T) {
	r := Release{Name: "r1", Lock: []byte("lock\n"), sequence: 2, Items: []Item{{"a", "k", goldA.drv, goldA.artifact}}}
	b, err := r.encode()
	if err != nil {
		t.Fatal(err)
	}
	want := `{"schema":1,"name":"r1","sequence":2,"lock":"bG9jawo=","items":[{"name":"a","kind":"k","drv":"` + zeros + `1","artifact":"` + zeros + `2"}]}`
	if string(b) != want {
		t.Errorf("release:\n%s\nwant\n%s", b, want)
	}
}

func TestRelative(t *testing.T) {
	for _, c := range []struct{ name, target, want string }{
		{"a/b/c", "a/d/e", "../d/e"}, {"a/b", "a/c", "c"}, {"a", "b/c", "b/c"}, {"a/b/c", "d", "../../d"}, {"x/y", "x", "../x"},
	} {
		if got := relative(c.name, c.target); got != c.want {
			t.Errorf("relative(%q, %q) = %q, want %q", c.name, c.target, got, c.want)
		}
	}
}

// What parses has one form: it is written as it was read.

func FuzzGeneration(f *testing.F) {
	f.Add([]byte(goldGeneration))
	f.Add([]byte(""))
	f.Fuzz(func(t *testing.T, b []byte) {
		if g, err := parseGeneration(b); err == nil && !bytes.Equal(g.encode(), b) {
			t.Errorf("%q came back as %q", b, g.encode())
		}
	})
}

func FuzzPointer(f *testing.F) {
	f.Add([]byte(`{"schema":1,"sequence":1,"generation":"` + zeros + `0","size":0}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, err := parsePointer(b); err == nil && (len(p.Generation) != 64 || strings.Contains(p.Generation, "/")) {
			t.Errorf("%q: generation %q", b, p.Generation)
		}
	})
}

func FuzzRelease(f *testing.F) {
	f.Add([]byte(`{"schema":1,"name":"r1","sequence":2,"lock":"bG9jawo=","items":[{"name":"a","kind":"k","drv":"` + zeros + `1","artifact":"` + zeros + `2"}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := parseRelease(b)
		if err != nil {
			return
		}
		again, err := r.encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parseRelease(again); err != nil {
			t.Errorf("%s: %v", again, err)
		}
	})
}

func FuzzIndex(f *testing.F) {
	f.Add([]byte(`{"key":"line","other":"line 2"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if ix, err := parseIndex(b); err == nil && bytes.Count(ix.encode(), []byte("\n")) != len(ix) {
			t.Errorf("%q: %q is not a line a key", b, ix.encode())
		}
	})
}

func FuzzStatement(f *testing.F) {
	s, err := store.NewStatement(store.Realisation{Drv: goldA.drv, Artifact: goldA.artifact, Builder: "b"}, nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(s.Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := parseStatement(b, goldA.hint); err == nil && (s.Drv != goldA.drv || s.Artifact != goldA.artifact) {
			t.Errorf("%q: a statement about something else", b)
		}
	})
}

func FuzzContent(f *testing.F) {
	f.Add([]byte(zeros + "0 17\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, err := parseContent(b); err == nil && !bytes.Equal(c.encode(), b) {
			t.Errorf("%q came back as %q", b, c.encode())
		}
	})
}

func FuzzChunk(f *testing.F) {
	packed, err := packChunk(nil, []byte(strings.Repeat("chunk ", 1000)))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(packed)
	f.Fuzz(func(t *testing.T, b []byte) {
		if raw, err := unpackChunk(b, 6000); err == nil && len(raw) > chunkMax {
			t.Errorf("%d bytes became %d", len(b), len(raw))
		}
	})
}

func FuzzBundle(f *testing.F) {
	b, err := makeBundle([]smallFile{{root + "artifact/x", []byte("{}")}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		files, err := parseBundle(b)
		if err != nil {
			return
		}
		for name := range files {
			if !strings.HasPrefix(name, root) || strings.Contains(name, "..") {
				t.Errorf("%q: file %q", b, name)
			}
		}
	})
}

func FuzzGraveyard(f *testing.F) {
	f.Add([]byte(`[{"drv":"` + zeros + `1","artifact":"` + zeros + `2","since":"2026-01-02T03:04:05Z"}]`))
	f.Fuzz(func(t *testing.T, b []byte) {
		g, err := parseGraveyard(b)
		if err != nil {
			return
		}
		text, err := g.encode()
		if err != nil {
			return // a time that JSON has no form for
		}
		again, err := parseGraveyard(text)
		if err != nil || len(again) != len(g) {
			t.Errorf("%q came back as %v, %v", b, again, err)
		}
	})
}
