package cache

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"sync"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/rcbops/rpcbuild/store"
)

// A chunkSlot is room for one chunk on its way. It is used again: memory that is new costs as much as
// hashing what is put there.
type chunkSlot struct{ raw, packed []byte }

func newChunkSlots(n int) chan *chunkSlot {
	slots := make(chan *chunkSlot, n)
	for range n {
		slots <- new(chunkSlot)
	}
	return slots
}

// uploadStream uploads what rpc-repo lacks of an item's stream. How it is cut is written after the
// chunks are there: where that is known, they are.
func (p *push) uploadStream(ctx context.Context, it *pushItem, blobs []store.Blob) error {
	var c content
	if !p.repair {
		known, err := p.Repo.content(ctx, it.Artifact, blobs)
		if !errors.Is(err, store.ErrNotFound) {
			it.content = known
			return err
		}
	}
	stream := &blobStream{ctx: ctx, store: p.store, blobs: blobs}
	defer stream.Close()
	var mu sync.Mutex
	g, ctx := errgroup.WithContext(ctx)
	err := cut(stream, chunkNormal, func(raw []byte) error {
		var slot *chunkSlot
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case slot = <-p.slots:
		}
		slot.raw = append(slot.raw[:0], raw...)
		mu.Lock()
		i := len(c)
		c = append(c, store.Blob{})
		mu.Unlock()
		g.Go(func() error {
			defer func() { p.slots <- slot }()
			b := store.HashBlob(slot.raw)
			mu.Lock()
			c[i] = b
			mu.Unlock()
			return p.uploadChunk(ctx, b, slot)
		})
		return nil
	})
	if err := cmp.Or(g.Wait(), err); err != nil { // of those who work, rather than of who was told to stop
		return err
	}
	it.content = c
	return nil
}

// uploadChunk uploads a chunk, unless it is there, or another stream's upload of it runs.
func (p *push) uploadChunk(ctx context.Context, b store.Blob, slot *chunkSlot) (err error) {
	if _, other := p.chunks.LoadOrStore(b.Digest, true); other {
		return nil
	}
	path := chunkPath(b.Digest)
	if _, err := p.stat(ctx, path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if slot.packed, err = packChunk(slot.packed[:0], slot.raw); err != nil {
		return err
	}
	if err := p.to.Put(ctx, path, bytes.NewReader(slot.packed)); err != nil {
		return err
	}
	p.uploaded(int64(len(slot.packed)))
	return nil
}

// blobStream reads contents of a store one after the other, and verifies each: a damaged store must
// not become a damaged rpc-repo. What follows a damaged one is never read.
type blobStream struct {
	ctx   context.Context
	store *store.Store
	blobs []store.Blob // left; the first one is open if file is not nil

	file *os.File
	hash hash.Hash
	n    int64 // read of file
}

func (s *blobStream) Read(p []byte) (int, error) {
	for len(s.blobs) > 0 {
		if s.file == nil {
			if err := s.open(); err != nil {
				return 0, err
			}
		}
		size := s.blobs[0].Size
		room := p[:min(int64(len(p)), size-s.n+1)] // one byte more: a read that comes back short has seen the file's end
		n, err := s.file.Read(room)
		s.hash.Write(room[:n])
		s.n += int64(n)
		if err != nil && err != io.EOF {
			return 0, fmt.Errorf("read %s: %w", s.store.BlobPath(s.blobs[0]), err)
		}
		if n == 0 || s.n > size || s.n == size && n < len(room) {
			if err := s.next(); err != nil {
				return 0, err
			}
		}
		if n > 0 {
			return n, nil
		}
	}
	return 0, io.EOF
}

func (s *blobStream) open() error {
	if err := s.ctx.Err(); err != nil {
		return err
	}
	f, err := s.store.OpenBlob(s.blobs[0])
	if err != nil {
		return fmt.Errorf("%w (realize the release again)", err)
	}
	s.file, s.hash, s.n = f, digest.SHA256.Hash(), 0
	return nil
}

// next compares what was read with what was promised, and goes on to the next content.
func (s *blobStream) next() error {
	want := s.blobs[0]
	got := store.Blob{Digest: digest.NewDigest(digest.SHA256, s.hash), Size: s.n}
	if got != want {
		return &store.DigestError{What: s.store.BlobPath(want), Want: want, Got: got}
	}
	s.blobs = s.blobs[1:]
	err := s.file.Close()
	s.file = nil
	return err
}

func (s *blobStream) Close() error {
	if s.file == nil {
		return nil
	}
	return s.file.Close()
}
