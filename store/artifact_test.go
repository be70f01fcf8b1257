package store

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

var files = map[string]string{
	"a/b":        "one",
	"a-b":        "one", // sorts before a/b, and WalkDir has it after
	"bin/run":    "#!/bin/sh\n",
	"empty/":     "",
	"link":       "-> a/b",
	"sub/up":     "-> ../a/b",
	"zero":       "",
	"sub/é <&> ": "name",
}

func TestTreeRoundTrip(t *testing.T) {
	s := open(t)
	ctx := context.Background()
	m := &Manifest{Publish: []Publication{{Path: "w/2", File: "a/b"}, {Path: "w/1", File: "a-b"}}}
	id, err := s.AddTree(ctx, tree(t, s, files), m)
	if err != nil {
		t.Fatal(err)
	}
	if has, err := s.Has(id); err != nil || !has {
		t.Fatalf("Has = %v, %v", has, err)
	}
	dir := filepath.Join(t.TempDir(), "out")
	if err := s.Materialize(id, dir); err != nil {
		t.Fatal(err)
	}
	got := read(t, dir)
	for name, want := range files {
		if got[name] != want {
			t.Errorf("%s: %q, want %q", name, got[name], want)
		}
	}
	if len(got) != len(files) {
		t.Errorf("got %v", got)
	}
	// The same tree, made in another order, is the same artifact.
	again, err := s.AddTree(ctx, tree(t, s, files), &Manifest{Publish: []Publication{{Path: "w/1", File: "a-b"}, {Path: "w/2", File: "a/b"}}})
	if err != nil || again != id {
		t.Errorf("again %v, %v, want %v", again, err, id)
	}
	if n := count(t, s.path(blobDir)); n != 4 {
		t.Errorf("%d blobs, want 4", n)
	}
}

// read returns a folder as [tree] takes it.
func read(t *testing.T, dir string) map[string]string {
	t.Helper()
	got := make(map[string]string)
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(dir, name)
		switch {
		case err != nil || rel == ".":
			return err
		case d.Type() == fs.ModeSymlink:
			target, err := os.Readlink(name)
			got[rel] = "-> " + target
			return err
		case d.IsDir():
			children, err := os.ReadDir(name)
			if len(children) == 0 {
				got[rel+"/"] = ""
			}
			return err
		}
		b, err := os.ReadFile(name)
		got[rel] = string(b)
		if fi, _ := d.Info(); (fi.Mode()&0o111 != 0) != strings.HasPrefix(string(b), "#!") {
			t.Errorf("%s has mode %v", rel, fi.Mode())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// count returns how many files are below dir.
func count(t *testing.T, dir string) (n int) {
	t.Helper()
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			n++
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestAddTreeRefuses(t *testing.T) {
	s := open(t)
	for name, c := range map[string]struct {
		files map[string]string
		want  string
	}{
		"absolute link":  {map[string]string{"l": "-> /etc/passwd"}, "leads out"},
		"link up":        {map[string]string{"l": "-> ../x"}, "leads out"},
		"name not UTF-8": {map[string]string{"a\xff": "x"}, "clean relative path"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := s.AddTree(context.Background(), tree(t, s, c.files), &Manifest{}); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v", err)
			}
		})
	}
	t.Run("socket", func(t *testing.T) {
		dir := tree(t, s, nil)
		l, err := net.Listen("unix", filepath.Join(dir, "s"))
		if err != nil {
			t.Skip(err)
		}
		defer l.Close()
		if _, err := s.AddTree(context.Background(), dir, &Manifest{}); err == nil || !strings.Contains(err.Error(), "s: an artifact holds no") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("cancelled", func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if _, err := s.AddTree(ctx, tree(t, s, files), &Manifest{}); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
	if n := count(t, s.path(blobDir)) + count(t, s.path(artifactDir)); n != 0 {
		t.Errorf("%d files were stored", n)
	}
}

func TestPutManifestNeedsItsContent(t *testing.T) {
	s := open(t)
	m := SingleFile("f", HashBlob([]byte("content")))
	if _, err := s.PutManifest(m); !errors.Is(err, ErrNotFound) {
		t.Errorf("got %v", err)
	}
	id, err := m.ID()
	if err != nil {
		t.Fatal(err)
	}
	if has, err := s.Has(id); has || err != nil {
		t.Errorf("Has = %v, %v", has, err)
	}
	if _, err := s.Manifest(id); !errors.Is(err, ErrNotFound) {
		t.Errorf("Manifest: %v", err)
	}
}

func TestFlippedBitInAManifest(t *testing.T) {
	s := open(t)
	id, err := s.AddTree(context.Background(), tree(t, s, files), &Manifest{})
	if err != nil {
		t.Fatal(err)
	}
	name := s.fanout(artifactDir, id.String())
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for i := range b {
		flip(t, name, i)
		if _, err := s.Manifest(id); err == nil || errors.Is(err, ErrNotFound) {
			t.Fatalf("bit in byte %d: %v", i, err)
		}
		if err := s.Materialize(id, filepath.Join(t.TempDir(), "out")); err == nil {
			t.Fatalf("bit in byte %d: materialized", i)
		}
		flip(t, name, i)
	}
	flip(t, name, 7)
	if _, err := s.AddTree(context.Background(), tree(t, s, files), &Manifest{}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Manifest(id); err != nil {
		t.Errorf("added again, and not mended: %v", err)
	}
}

func TestTree(t *testing.T) {
	s := open(t)
	id, err := s.AddTree(context.Background(), tree(t, s, files), &Manifest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Tree(id, func(*Manifest, string) error { return errors.New("damaged") }); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("got %v", err)
	}
	var unpacked atomic.Int32
	unpack := func(m *Manifest, dir string) error {
		unpacked.Add(1)
		return os.WriteFile(filepath.Join(dir, "entries"), []byte{byte(len(m.Entries))}, 0o644)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			dir, err := s.Tree(id, unpack)
			if err != nil {
				t.Error(err)
				return
			}
			if b, err := os.ReadFile(filepath.Join(dir, "entries")); err != nil || int(b[0]) != len(files) {
				t.Errorf("got %v, %v", b, err)
			}
		})
	}
	wg.Wait()
	if n := unpacked.Load(); n != 1 {
		t.Errorf("unpacked %d times", n)
	}
	if _, err := s.Tree(HashArtifact(nil), unpack); !errors.Is(err, ErrNotFound) {
		t.Errorf("unknown artifact: %v", err)
	}
	if left, _ := os.ReadDir(s.session.Name()); len(left) != 1 { // what [tree] made
		t.Errorf("temporary folders are left: %v", left)
	}
}
