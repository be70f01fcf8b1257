package store

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// A copy and a move of one tree are one artifact, whatever is large, twice there, or in the store.
func TestAddFolder(t *testing.T) {
	dir := t.TempDir()
	files := map[string][]byte{
		"empty": nil, "a/small": []byte("small"), "b/same": []byte("small"),
		"limit": bytes.Repeat([]byte("x"), copyBuffer), "large": bytes.Repeat([]byte("y"), copyBuffer+1),
		"larger": bytes.Repeat([]byte("z"), 3*copyBuffer), "again": bytes.Repeat([]byte("z"), 3*copyBuffer),
	}
	for name, content := range files {
		full := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, content, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	s := open(t)
	for range 2 {
		id, err := s.AddFolder(t.Context(), dir)
		if err != nil {
			t.Fatal(err)
		}
		m, err := s.Manifest(id)
		if err != nil {
			t.Fatal(err)
		}
		if has, err := s.Has(id); err != nil || !has {
			t.Fatalf("the store has it: %v, %v", has, err)
		}
		for name, want := range files {
			e, ok := m.Lookup(name)
			if !ok || e.Type != Exec {
				t.Fatalf("%s: %+v", name, e)
			}
			if len(want) == 0 {
				continue
			}
			if b, err := s.ReadBlob(e.Blob()); err != nil || !bytes.Equal(b, want) {
				t.Errorf("%s: %d bytes, %v", name, len(b), err)
			}
		}
	}
	other := open(t)
	first, err := s.AddFolder(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	moved, err := other.TempDir("move")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(moved, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	second, err := other.AddTree(t.Context(), moved, new(Manifest))
	if err != nil || first != second {
		t.Errorf("copied: %s, moved: %s, %v", first, second, err)
	}
}
