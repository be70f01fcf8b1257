package cache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync/atomic"

	"github.com/klauspost/compress/zstd"
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
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(r.opts.Jobs)
	asked := make(map[store.Blob]bool)
	for _, e := range m.Entries {
		if !e.HasContent() || asked[e.Blob()] || st.HasBlob(e.Blob()) {
			continue
		}
		asked[e.Blob()] = true
		g.Go(func() error { return r.fetchBlob(ctx, e.Blob(), packed(m, e), st, tell) })
	}
	if err := g.Wait(); err != nil {
		return fmt.Errorf("artifact %s: %w", id.Short(), err)
	}
	_, err = st.PutManifest(m)
	return err
}

// manifest reads and verifies the manifest of an artifact.
func (r *Repo) manifest(ctx context.Context, id store.ArtifactID) (m *store.Manifest, err error) {
	path := manifestPath(id)
	err = r.transfer(ctx, func() error {
		b, err := r.read(ctx, path, store.ManifestLimit)
		if err != nil {
			return r.missing("artifact "+id.String(), err)
		}
		if got := store.HashArtifact(b); got != id {
			return r.wrong(path, fmt.Errorf("its SHA-256 is %s", got))
		}
		if m, err = store.DecodeManifest(b); err != nil {
			return r.wrong(path, err)
		}
		return nil
	})
	return m, err
}

// fetchBlob brings content into st. Where two artifacts that come at the same time share it, it
// comes once.
func (r *Repo) fetchBlob(ctx context.Context, want store.Blob, packed bool, st *store.Store, tell func(int64)) error {
	release, err := r.claim(ctx, want)
	if err != nil {
		return err
	}
	defer release()
	if st.HasBlob(want) {
		return nil
	}
	return r.transfer(ctx, func() error {
		body, path, err := r.openBlob(ctx, want, packed, tell)
		if err != nil {
			return err
		}
		defer body.Close()
		return r.blame(path, body, st.PutBlob(ctx, body, want))
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
func (r *Repo) blame(path string, body *blobReader, err error) error {
	var digest *store.DigestError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &digest):
		digest.What = r.String() + "/" + path
		return r.wrong(path, err)
	case body.damaged():
		return r.wrong(path, fmt.Errorf("not what zstd compressed: %w", err))
	default:
		return fmt.Errorf("%s of rpc-repo %s: %w", path, r, err)
	}
}

// openBlob opens content for reading, not verified yet: packed says in which form to look first.
func (r *Repo) openBlob(ctx context.Context, b store.Blob, packed bool, tell func(int64)) (*blobReader, string, error) {
	paths := []string{rawPath(b), packedPath(b)}
	if packed {
		paths[0], paths[1] = paths[1], paths[0]
	}
	for _, path := range paths {
		body, _, err := r.backend.Get(ctx, path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, path, err
		}
		br, err := newBlobReader(body, path == packedPath(b), tell)
		return br, path, err
	}
	return nil, "", fmt.Errorf("blob %s in rpc-repo %s: %w", b.Digest.Encoded(), r, store.ErrNotFound)
}

// unpackWindow is the most memory that compressed content may ask for: 4 times what we use.
const unpackWindow = 32 << 20

// blobReader gives the raw bytes of content that is kept raw or compressed. Whoever reads bounds
// how much it reads: a few compressed bytes can become endless raw ones.
type blobReader struct {
	body    io.ReadCloser
	tell    func(int64)
	zstd    *zstd.Decoder // nil: kept raw
	bodyErr error         // what the backend failed with, if it was the backend
	rawErr  error         // what the decoder failed with
}

func newBlobReader(body io.ReadCloser, packed bool, tell func(int64)) (*blobReader, error) {
	b := &blobReader{body: body, tell: tell}
	if !packed {
		return b, nil
	}
	d, err := zstd.NewReader(bodyReader{b}, zstd.WithDecoderMaxWindow(unpackWindow), zstd.WithDecoderConcurrency(1))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start zstd: %w", err), body.Close())
	}
	b.zstd = d
	return b, nil
}

func (b *blobReader) Read(p []byte) (int, error) {
	if b.zstd == nil {
		return bodyReader{b}.Read(p)
	}
	n, err := b.zstd.Read(p)
	if err != nil && err != io.EOF {
		b.rawErr = err
	}
	return n, err
}

// damaged reports whether reading ended because the compressed form is wrong, and not because the
// backend failed.
func (b *blobReader) damaged() bool { return b.rawErr != nil && b.bodyErr == nil }

func (b *blobReader) Close() error {
	if b.zstd != nil {
		b.zstd.Close()
	}
	return b.body.Close()
}

// bodyReader reads what comes over, as it is kept, and counts it.
type bodyReader struct{ *blobReader }

func (r bodyReader) Read(p []byte) (int, error) {
	n, err := r.body.Read(p)
	if n > 0 && r.tell != nil {
		r.tell(int64(n))
	}
	if err != nil && err != io.EOF {
		r.bodyErr = err
	}
	return n, err
}
