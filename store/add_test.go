package store

import (
	"context"
	"os"
	"path/filepath"
	"testing"
)

// TestAddFolder adds a folder that is somebody else's: it gives what AddTree gives, and stays.
func TestAddFolder(t *testing.T) {
	s := open(t)
	files := map[string]string{"a/b": "x", "a/c": "x", "run": "#!/bin/sh", "empty/": "", "link": "-> a/b", "nothing": ""}
	dir := t.TempDir()
	for name, content := range files {
		if err := makeFile(filepath.Join(dir, name), name, content); err != nil {
			t.Fatal(err)
		}
	}
	id, err := s.AddFolder(context.Background(), dir)
	if err != nil {
		t.Fatal(err)
	}
	want, err := s.AddTree(context.Background(), tree(t, s, files), &Manifest{})
	if err != nil || id != want {
		t.Errorf("got %s, want %s, %v", id, want, err)
	}
	for name := range files {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "a/b"), []byte("changed"), 0o644); err != nil {
		t.Error(err)
	}
	clean(t, s)
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "out")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.AddFolder(context.Background(), dir); err == nil {
		t.Error("a link that leads out was added")
	}
}
