package cache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/rcbops/rpcbuild/store"
)

// Fetch brings an artifact whole and verified into st, and returns how many bytes came over: only
// content that st lacks does. progress, if not nil, is called with their number now and then, by
// several goroutines at a time. The error wraps [store.ErrNotFound] if rpc-repo lacks the
// artifact, and is a [*WrongError] if it has something else in its place: then nothing of that is
// in st.
func (r *Repo) Fetch(ctx context.Context, id store.ArtifactID, st *store.Store, progress func(int64)) (int64, error) {
	var came atomic.Int64
	err := r.fetch(ctx, id, st, func(n int64) {
		if total := came.Add(n); progress != nil {
			progress(total)
		}
	})
	return came.Load(), err
}

// fetch is Fetch; tell is called with the number of each few bytes that came over.
func (r *Repo) fetch(ctx context.Context, id store.ArtifactID, st *store.Store, tell func(int64)) error {
	m, err := r.manifest(ctx, id)
	if err != nil {
		return err
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(r.opts.Jobs)
	for _, b := range published(m) {
		if !st.HasBlob(b) {
			g.Go(func() error { return r.fetchBlob(gctx, b, id, st, tell) })
		}
	}
	g.Go(func() error { return r.fetchStream(gctx, id, streamed(m), st, tell) })
	if err := g.Wait(); err != nil {
		return fmt.Errorf("artifact %s: %w", id.Short(), err)
	}
	if err := r.fetchEmpty(ctx, m, st); err != nil {
		return fmt.Errorf("artifact %s: %w", id.Short(), err)
	}
	_, err = st.PutManifest(m)
	return err
}

// fetchEmpty adds the content of empty files, of which nothing is kept.
func (r *Repo) fetchEmpty(ctx context.Context, m *store.Manifest, st *store.Store) error {
	for _, e := range m.Entries {
		if e.HasContent() && e.Size == 0 {
			return st.PutBlob(ctx, eof{}, e.Blob())
		}
	}
	return nil
}

type eof struct{}

func (eof) Read([]byte) (int, error) { return 0, io.EOF }

// manifest reads and verifies the manifest of an artifact.
func (r *Repo) manifest(ctx context.Context, id store.ArtifactID) (*store.Manifest, error) {
	path := manifestPath(id)
	b, err := r.small(ctx, path, store.ManifestLimit, id)
	if err != nil {
		return nil, r.missing("artifact "+id.String(), err)
	}
	if got := store.HashArtifact(b); got != id {
		return nil, r.wrong(path, fmt.Errorf("its SHA-256 is %s", got))
	}
	m, err := store.DecodeManifest(b)
	if err != nil {
		return nil, r.wrong(path, err)
	}
	return m, nil
}

// fetchBlob brings content that the artifact id publishes into st. Where two artifacts that come at the same
// time share it, it comes once.
func (r *Repo) fetchBlob(ctx context.Context, want store.Blob, id store.ArtifactID, st *store.Store, tell func(int64)) error {
	release, err := r.claim(ctx, want)
	if err != nil {
		return err
	}
	defer release()
	if st.HasBlob(want) {
		return nil
	}
	if want.Size >= largeFile {
		if came, err := r.fetchPieces(ctx, want, id, st, tell); came || err != nil {
			return err
		}
	}
	return r.transfer(ctx, func() error {
		body, err := r.openBlob(ctx, want, tell)
		if err != nil {
			return err
		}
		defer body.Close()
		return r.blame(blobPath(want), st.PutBlob(ctx, body, want))
	})
}

// claim waits until nobody else fetches b, and keeps others from it until release is called.
func (r *Repo) claim(ctx context.Context, b store.Blob) (release func(), err error) {
	mine := make(chan struct{})
	for {
		r.mu.Lock()
		other, taken := r.coming[b]
		if !taken {
			r.coming[b] = mine
		}
		r.mu.Unlock()
		if !taken {
			return func() {
				r.mu.Lock()
				delete(r.coming, b)
				r.mu.Unlock()
				close(mine)
			}, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-other:
		}
	}
}

// blame says whose fault a failed read of content is: content that is not what its name promised is
// rpc-repo's.
func (r *Repo) blame(path string, err error) error {
	var digest *store.DigestError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &digest):
		digest.What = "content"
		return r.wrong(path, err)
	default:
		return fmt.Errorf("%s of rpc-repo %s: %w", path, r, err)
	}
}

// openBlob opens published content for reading, not verified yet.
func (r *Repo) openBlob(ctx context.Context, b store.Blob, tell func(int64)) (io.ReadCloser, error) {
	body, _, err := r.backend.Get(ctx, blobPath(b))
	if err != nil {
		return nil, r.missing("blob "+b.Digest.Encoded(), err)
	}
	return &counted{body, tell}, nil
}

// counted counts what comes over.
type counted struct {
	io.ReadCloser
	tell func(int64)
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	if n > 0 && c.tell != nil {
		c.tell(int64(n))
	}
	return n, err
}
