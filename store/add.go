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
	"sync/atomic"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

const (
	// copyBuffer is the size up to which a file is read whole: what the store has is then not written.
	copyBuffer = 1 << 20
	// Copies become durable in batches while others are written: the disk is never idle.
	copyBatchFiles = 16384
	copyBatchBytes = 512 << 20
)

// AddFolder adds a copy of a folder, which is somebody else's, as one artifact. Like
// [Store.AddTree], it keeps no owners and times, and refuses what an artifact does not hold. Of
// what changes meanwhile, the artifact has what was before or after.
func (s *Store) AddFolder(ctx context.Context, dir string) (ArtifactID, error) {
	id, err := s.addFolder(ctx, dir)
	if err != nil {
		return id, fmt.Errorf("add %s: %w", dir, err)
	}
	return id, nil
}

func (s *Store) addFolder(ctx context.Context, dir string) (ArtifactID, error) {
	entries, err := scanTree(dir)
	if err != nil {
		return ArtifactID{}, err
	}
	for _, e := range entries {
		if e.HasContent() {
			continue
		}
		if err := e.validate(); err != nil {
			return ArtifactID{}, fmt.Errorf("%s: %w", e.Path, err)
		}
	}
	c := &copying{store: s, from: dir, seen: make(map[digest.Digest]bool)}
	if err := c.run(ctx, entries); err != nil {
		return ArtifactID{}, err
	}
	return s.putManifest(&Manifest{Entries: entries})
}

// copying is one call of AddFolder.
type copying struct {
	store    *Store
	from, to string

	mu    sync.Mutex
	seen  map[digest.Digest]bool // copied, or there
	batch []Verified
	bytes int64
}

func (c *copying) run(ctx context.Context, entries []Entry) (err error) {
	if c.to, err = c.store.TempDir("copy"); err != nil {
		return err
	}
	defer os.RemoveAll(c.to)
	settling := new(errgroup.Group) // one batch at a time
	settling.SetLimit(1)
	g, ctx := errgroup.WithContext(ctx)
	var next atomic.Int64 // of the entries: whoever is free takes one
	for range 2 * runtime.GOMAXPROCS(0) {
		dir, err := os.MkdirTemp(c.to, "") // of its own: names are made in a folder one after the other
		if err != nil {
			return err
		}
		g.Go(func() error {
			buf := make([]byte, copyBuffer)
			for i := next.Add(1) - 1; i < int64(len(entries)); i = next.Add(1) - 1 {
				e := &entries[i]
				if !e.HasContent() {
					continue
				}
				if err := c.copy(ctx, e, dir, buf); err != nil {
					return fmt.Errorf("%s: %w", e.Path, err)
				}
				if batch := c.full(); batch != nil {
					settling.Go(func() error { return c.store.settle(batch) })
				}
			}
			return nil
		})
	}
	if err := errors.Join(g.Wait(), settling.Wait()); err != nil {
		return err
	}
	return c.store.settle(c.batch)
}

// full returns the batch, once it is full.
func (c *copying) full() []Verified {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.batch) < copyBatchFiles && c.bytes < copyBatchBytes {
		return nil
	}
	batch := c.batch
	c.batch, c.bytes = nil, 0
	return batch
}

// copy copies a file by way of the folder dir, unless the store has its content, and says in e what that is.
func (c *copying) copy(ctx context.Context, e *Entry, dir string, buf []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	f, err := os.Open(filepath.Join(c.from, e.Path))
	if err != nil {
		return err
	}
	defer f.Close()
	n, err := io.ReadFull(f, buf)
	if err == nil {
		return c.copyLarge(ctx, e, f, dir, buf)
	}
	if err != io.EOF && err != io.ErrUnexpectedEOF {
		return err
	}
	b := HashBlob(buf[:n])
	e.Digest, e.Size = b.Digest, b.Size
	if !c.claim(b) {
		return nil
	}
	name := filepath.Join(dir, b.Digest.Encoded())
	if err := os.WriteFile(name, buf[:n], 0o444); err != nil {
		return err
	}
	c.add(name, b)
	return nil
}

// copyLarge copies a file whose first bytes were read, and hashes it on the way.
func (c *copying) copyLarge(ctx context.Context, e *Entry, f *os.File, dir string, first []byte) error {
	out, err := os.CreateTemp(dir, "large")
	if err != nil {
		return err
	}
	defer out.Close()
	h := digest.SHA256.Digester()
	n := len(first)
	for n > 0 {
		h.Hash().Write(first[:n])
		e.Size += int64(n)
		if _, err := out.Write(first[:n]); err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if n, err = io.ReadFull(f, first); err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
			return err
		}
	}
	e.Digest = h.Digest()
	if !c.claim(e.Blob()) {
		return os.Remove(out.Name())
	}
	if err := out.Chmod(0o444); err != nil {
		return err
	}
	// Start to write it, so that there is less to do when the batch becomes durable.
	unix.SyncFileRange(int(out.Fd()), 0, 0, unix.SYNC_FILE_RANGE_WRITE)
	c.add(out.Name(), e.Blob())
	return nil
}

// claim reports whether the caller is the one to copy b.
func (c *copying) claim(b Blob) bool {
	c.mu.Lock()
	seen := c.seen[b.Digest]
	c.seen[b.Digest] = true
	c.mu.Unlock()
	return !seen && !c.store.HasBlob(b)
}

func (c *copying) add(name string, b Blob) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.batch = append(c.batch, Verified{Path: name, Blob: b})
	c.bytes += b.Size
}
