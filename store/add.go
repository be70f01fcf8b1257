package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"sync"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"
)

// AddFolder adds a copy of a folder, which is somebody else's, as one artifact. Like
// [Store.AddTree], it keeps no owners and times, and refuses what an artifact does not hold.
func (s *Store) AddFolder(ctx context.Context, dir string) (ArtifactID, error) {
	id, err := s.addFolder(ctx, dir)
	if err != nil {
		return id, fmt.Errorf("add %s: %w", dir, err)
	}
	return id, nil
}

func (s *Store) addFolder(ctx context.Context, dir string) (id ArtifactID, err error) {
	entries, err := scanTree(dir)
	if err != nil {
		return id, err
	}
	m := &Manifest{Entries: entries}
	tmp, err := s.TempDir("add")
	if err != nil {
		return id, err
	}
	defer os.RemoveAll(tmp)
	made := make(map[string]bool)
	for _, e := range entries {
		if sub := filepath.Dir(e.Path); e.HasContent() && !made[sub] {
			made[sub] = true
			if err := os.MkdirAll(filepath.Join(tmp, sub), 0o700); err != nil {
				return id, err
			}
		}
	}
	c := &copier{Store: s, from: dir, to: tmp, seen: make(map[Blob]bool)}
	g, copying := errgroup.WithContext(ctx)
	n := runtime.GOMAXPROCS(0)
	for worker := range n {
		g.Go(func() error {
			buf := make([]byte, 1<<20)
			for i := worker; i < len(entries); i += n {
				if err := copying.Err(); err != nil {
					return err
				}
				if !entries[i].HasContent() {
					continue
				}
				if err := c.copy(&entries[i], buf); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return id, err
	}
	m.sort()
	if err := m.validate(); err != nil {
		return id, err
	}
	if err := s.moveBlobs(tmp, c.copied); err != nil {
		return id, err
	}
	return s.PutManifest(m)
}

// copier copies what the store lacks.
type copier struct {
	*Store
	from, to string
	mu       sync.Mutex
	seen     map[Blob]bool
	copied   []Entry
}

// copy hashes a file and copies it in one go, so that each byte is read once. A small one is written
// only if its content is new.
func (c *copier) copy(e *Entry, buf []byte) error {
	src, err := os.Open(filepath.Join(c.from, e.Path))
	if err != nil {
		return err
	}
	defer src.Close()
	n, err := io.ReadFull(src, buf)
	switch {
	case err == io.EOF || err == io.ErrUnexpectedEOF:
		b := HashBlob(buf[:n])
		e.Digest, e.Size = b.Digest, b.Size
		if !c.isNew(*e) {
			return nil
		}
		return os.WriteFile(filepath.Join(c.to, e.Path), buf[:n], 0o444)
	case err != nil:
		return err
	}
	dst, err := os.OpenFile(filepath.Join(c.to, e.Path), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o444)
	if err != nil {
		return err
	}
	h := digest.SHA256.Digester()
	both := io.MultiWriter(dst, h.Hash())
	_, err = both.Write(buf)
	if err == nil {
		e.Size, err = io.CopyBuffer(both, onlyReader{src}, buf)
	}
	e.Digest, e.Size = h.Digest(), e.Size+int64(len(buf))
	c.isNew(*e)
	return errors.Join(err, dst.Close())
}

// onlyReader keeps io from a copy by the kernel, which would not hash.
type onlyReader struct{ io.Reader }

// isNew reports whether the content is to be copied, once.
func (c *copier) isNew(e Entry) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.seen[e.Blob()] {
		return false
	}
	c.seen[e.Blob()] = true
	if c.HasBlob(e.Blob()) {
		return false
	}
	c.copied = append(c.copied, e)
	return true
}
