package store

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"

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
				if err := copyEntry(dir, tmp, &entries[i], buf); err != nil {
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
	if err := s.moveBlobs(tmp, entries); err != nil {
		return id, err
	}
	return s.PutManifest(m)
}

// copyEntry copies a file and hashes what it copies, so that each byte is read once.
func copyEntry(from, to string, e *Entry, buf []byte) error {
	src, err := os.Open(filepath.Join(from, e.Path))
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.OpenFile(filepath.Join(to, e.Path), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o444)
	if err != nil {
		return err
	}
	h := digest.SHA256.Digester()
	n := int64(0)
	for {
		k, err := src.Read(buf)
		h.Hash().Write(buf[:k])
		if _, err := dst.Write(buf[:k]); err != nil {
			dst.Close()
			return err
		}
		n += int64(k)
		if err == io.EOF {
			break
		}
		if err != nil {
			dst.Close()
			return err
		}
	}
	e.Digest, e.Size = h.Digest(), n
	return dst.Close()
}
