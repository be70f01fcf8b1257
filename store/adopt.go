package store

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

// A Verified file holds exactly what Blob says: whoever wrote it compared.
type Verified struct {
	Path string // in the store's file system
	Blob Blob
}

// Adopt moves verified files into the store. They become durable together, which costs one sync of the
// file system where they are many. What the store has already is removed.
func (s *Store) Adopt(files []Verified) error {
	var fresh []Verified
	for _, f := range files {
		if s.HasBlob(f.Blob) {
			if err := os.Remove(f.Path); err != nil {
				return fmt.Errorf("adopt blob: %w", err)
			}
			continue
		}
		fresh = append(fresh, f)
	}
	for _, f := range fresh {
		if err := errors.Join(os.Chmod(f.Path, 0o444), touch(f.Path)); err != nil {
			return fmt.Errorf("adopt blobs: %w", err)
		}
	}
	if err := s.settle(fresh); err != nil {
		return fmt.Errorf("adopt blobs: %w", err)
	}
	return nil
}

// settle gives verified files their final names. They are read-only, were changed in this session, and
// the store lacks them.
func (s *Store) settle(files []Verified) error {
	if len(files) == 0 {
		return nil
	}
	paths := make([]string, len(files))
	for i, f := range files {
		paths[i] = f.Path
	}
	if err := s.sync(paths); err != nil {
		return err
	}
	dirs := make(map[string]bool)
	for _, f := range files {
		name := s.blobPath(f.Blob)
		made, err := move(f.Path, name)
		if err != nil {
			return err
		}
		dirs[filepath.Dir(name)] = true
		if made {
			dirs[s.path(blobDir)] = true
		}
	}
	return s.sync(slices.Collect(maps.Keys(dirs)))
}

// sync makes files or folders of the store durable, many of them at once.
func (s *Store) sync(paths []string) error {
	if len(paths) > 32 {
		return SyncFileSystem(s.dir)
	}
	for _, p := range paths {
		if err := syncDir(p); err != nil {
			return err
		}
	}
	return nil
}
