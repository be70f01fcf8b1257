package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
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
	if len(fresh) == 0 {
		return nil
	}
	if err := syncFiles(fresh); err != nil {
		return fmt.Errorf("adopt blobs: %w", err)
	}
	dirs := make(map[string]bool)
	for _, f := range fresh {
		name := s.blobPath(f.Blob)
		if err := publish(f.Path, name); err != nil {
			return fmt.Errorf("adopt blobs: %w", err)
		}
		dirs[filepath.Dir(name)] = true
	}
	for d := range dirs {
		if err := syncDir(d); err != nil {
			return fmt.Errorf("adopt blobs: %w", err)
		}
	}
	return nil
}

// syncFiles makes the content of files durable, and the files read-only. From some dozens of files on,
// syncing the whole file system costs less than a journal commit a file.
func syncFiles(files []Verified) error {
	together := len(files) > 32
	for _, v := range files {
		f, err := os.Open(v.Path)
		if err != nil {
			return err
		}
		err = f.Chmod(0o444)
		if err == nil && !together {
			err = f.Sync()
		}
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
	}
	if together {
		return syncFileSystem(filepath.Dir(files[0].Path))
	}
	return nil
}

// TryLockBlob is [Store.LockBlob] for whoever can do without: ok is false where another process has the
// lock.
func (s *Store) TryLockBlob(b Blob) (unlock func(), ok bool, err error) {
	name := s.path(lockDir, "blob-"+b.Digest.Encoded())
	f, err := tryLock(name)
	if err != nil {
		return nil, false, fmt.Errorf("lock download of %s: %w", b.Digest, err)
	}
	if f == nil {
		return nil, false, nil
	}
	return func() { os.Remove(name); f.Close() }, true, nil
}
