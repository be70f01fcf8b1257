package cache

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/rcbops/rpcbuild/store"
)

// uploadContent uploads what rpc-repo lacks of the items' content, the largest first, so that at the
// end no one large file is left alone.
func (p *push) uploadContent(ctx context.Context) error {
	if err := p.findPlaces(ctx); err != nil {
		return err
	}
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
	size, err := p.stat(ctx, blobPath(b))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	there := err == nil && size == b.Size // else it is damaged: content by its digest has one length
	if there && (b.Size < largeFile || !p.store.HasBlob(b)) {
		return nil
	}
	f, err := p.blob(ctx, b)
	if err != nil {
		return err
	}
	defer f.Close()
	if b.Size >= largeFile {
		return p.uploadLarge(ctx, f, b, there)
	}
	// A damaged store must not become a damaged rpc-repo, so it is read once to verify it; the second time it
	// comes from memory.
	if err := verify(ctx, f, b, f.Name()); err != nil {
		return err
	}
	return p.putFile(ctx, f, b)
}

// putFile uploads all of a file, which has the content b.
func (p *push) putFile(ctx context.Context, f *os.File, b store.Blob) error {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if err := p.to.Put(ctx, blobPath(b), f); err != nil { // a file as it is, so that the kernel copies it
		return err
	}
	p.uploaded(b.Size)
	return nil
}

// uploadLarge uploads content that is cut, unless it is there: those pieces that rpc-repo has nowhere.
func (p *push) uploadLarge(ctx context.Context, f *os.File, b store.Blob, there bool) error {
	pieces, err := cutContent(ctx, f, b, f.Name())
	if err != nil {
		return err
	}
	p.cuts.Store(b, pieces)
	to, ok := p.to.(Assembler)
	switch {
	case there:
		p.places.add(blobPath(b), pieces, nil)
		return nil
	case !ok || p.repair:
		return p.putFile(ctx, f, b)
	}
	done := make(chan struct{})
	defer close(done)
	spans, wait := p.places.add(blobPath(b), pieces, done)
	for there := range wait { // of those who came before, who wait for none that came later
		select {
		case <-there:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	sent, err := to.Assemble(ctx, blobPath(b), f, spans)
	if err != nil && ctx.Err() == nil && !errors.Is(err, ErrUnreachable) {
		return p.putFile(ctx, f, b) // a list was wrong, or a file is gone
	}
	if err == nil {
		p.uploaded(sent)
	}
	return err
}

// uploaded counts a file, and n bytes that were sent for it.
func (p *push) uploaded(n int64) {
	p.files.Add(1)
	if total := p.bytes.Add(n); p.opts.Progress != nil {
		p.opts.Progress(total)
	}
}

// blob opens content: of the store, not verified, or of rpc-repo.
func (p *push) blob(ctx context.Context, b store.Blob) (*os.File, error) {
	f, err := p.store.OpenBlob(b)
	if errors.Is(err, store.ErrNotFound) {
		return p.ownContent(ctx, b)
	}
	return f, err
}

// ownContent copies published content of rpc-repo to the store.
func (p *push) ownContent(ctx context.Context, b store.Blob) (*os.File, error) {
	err := p.fetchBlob(ctx, b, store.ArtifactID{}, p.store, nil)
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
