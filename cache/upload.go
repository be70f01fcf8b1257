package cache

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/rcbops/rpcbuild/store"
)

// uploadContent uploads what rpc-repo lacks of the items' content, the largest first, so that at the
// end no one large file is left alone.
func (p *push) uploadContent(ctx context.Context) error {
	var tasks []upload
	seen := make(map[store.Blob]bool)
	for _, it := range p.items {
		for _, b := range published(it.manifest) {
			if !seen[b] {
				seen[b] = true
				tasks = append(tasks, upload{b.Size, func(ctx context.Context) error { return p.uploadBlob(ctx, b) }})
			}
		}
	}
	for _, it := range p.items {
		if blobs := streamed(it.manifest); len(blobs) > 0 {
			tasks = append(tasks, upload{content(blobs).size(), func(ctx context.Context) error {
				if err := p.uploadStream(ctx, it, blobs); err != nil {
					return fmt.Errorf("%s: %w", it.Name, err)
				}
				return nil
			}})
		}
	}
	slices.SortStableFunc(tasks, func(a, b upload) int { return cmp.Compare(b.size, a.size) })
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(p.Repo.opts.Jobs)
	for _, t := range tasks {
		g.Go(func() error { return t.run(ctx) })
	}
	return g.Wait()
}

// upload is one published file, or one stream.
type upload struct {
	size int64 // raw, in bytes
	run  func(context.Context) error
}

// uploadBlob uploads content that is published, as it is.
func (p *push) uploadBlob(ctx context.Context, b store.Blob) error {
	path := blobPath(b)
	switch size, err := p.stat(ctx, path); {
	case err == nil && size == b.Size:
		return nil // else it is damaged: content by its digest has one length
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	}
	content, err := p.blob(ctx, b)
	if err != nil {
		return err
	}
	defer content.Close()
	if err := p.to.Put(ctx, path, content); err != nil { // a file as it is, so that the kernel copies it
		return err
	}
	p.files.Add(1)
	p.uploaded(b.Size)
	return nil
}

// stat returns the size of a file, or, in a repair, that it is not there.
func (p *push) stat(ctx context.Context, path string) (int64, error) {
	if p.repair {
		return 0, fs.ErrNotExist
	}
	return p.to.Stat(ctx, path)
}

func (p *push) uploaded(n int64) {
	if total := p.bytes.Add(n); p.opts.Progress != nil {
		p.opts.Progress(total)
	}
}

// blob opens verified content: from the store, or from rpc-repo. A damaged store must not become a damaged rpc-repo, so it is read once to verify it; the
// second time it comes from memory.
func (p *push) blob(ctx context.Context, b store.Blob) (io.ReadCloser, error) {
	f, err := p.store.OpenBlob(b)
	if errors.Is(err, store.ErrNotFound) {
		return p.ownContent(ctx, b)
	}
	if err != nil {
		return nil, err
	}
	err = verify(ctx, f, b, p.store.BlobPath(b))
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// ownContent copies published content of rpc-repo to the store.
func (p *push) ownContent(ctx context.Context, b store.Blob) (io.ReadCloser, error) {
	err := p.fetchBlob(ctx, b, p.store, nil)
	if errors.Is(err, store.ErrNotFound) {
		return nil, fmt.Errorf("blob %s is neither in the store nor in rpc-repo: %w (realize the release again)", b.Digest.Encoded(), err)
	}
	if err != nil {
		return nil, err
	}
	return p.store.OpenBlob(b)
}

// verify reads all of r and compares it to b.
func verify(ctx context.Context, r io.Reader, b store.Blob, what string) error {
	h := digest.SHA256.Digester()
	bounded := io.LimitReader(r, b.Size+1)
	var n int64
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		m, err := io.CopyN(h.Hash(), bounded, copyPiece)
		n += m
		if err == io.EOF {
			break
		}
		if err != nil {
			return fmt.Errorf("read %s: %w", what, err)
		}
	}
	if got := (store.Blob{Digest: h.Digest(), Size: n}); got != b {
		return &store.DigestError{What: what, Want: b, Got: got}
	}
	return nil
}
