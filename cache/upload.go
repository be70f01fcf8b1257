package cache

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"

	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/rcbops/rpcbuild/store"
)

// need is content that items are made of.
type need struct {
	blob   store.Blob
	packed bool // no item asks for the raw form
	raw    bool // a consumer's path is to be another name of it
}

// uploadContent uploads what rpc-repo lacks of the items' content, the largest first, so that at the
// end no one large file is left alone.
func (p *push) uploadContent(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(p.Repo.opts.Jobs)
	for _, n := range p.needs() {
		g.Go(func() error { return p.uploadBlob(ctx, n) })
	}
	return g.Wait()
}

func (p *push) needs() []need {
	byBlob := make(map[store.Blob]need)
	for _, it := range p.items {
		for _, e := range it.manifest.Entries {
			if !e.HasContent() {
				continue
			}
			n, ok := byBlob[e.Blob()]
			n.blob = e.Blob()
			n.packed = packed(it.manifest, e) && (n.packed || !ok)
			byBlob[n.blob] = n
		}
		for _, pub := range it.manifest.Publish {
			if e, ok := it.manifest.Lookup(pub.File); ok {
				n := byBlob[e.Blob()]
				n.raw = true
				byBlob[n.blob] = n
			}
		}
	}
	list := make([]need, 0, len(byBlob))
	for _, n := range byBlob {
		list = append(list, n)
	}
	slices.SortFunc(list, func(a, b need) int {
		return cmp.Or(cmp.Compare(b.blob.Size, a.blob.Size), cmp.Compare(a.blob.Digest, b.blob.Digest))
	})
	return list
}

// uploadBlob uploads content that is there in no form that will do.
func (p *push) uploadBlob(ctx context.Context, n need) error {
	raw, compressed := rawPath(n.blob), packedPath(n.blob)
	put := p.to.Create
	size, err := p.to.Stat(ctx, raw)
	switch {
	case err == nil && size == n.blob.Size:
		return nil
	case err == nil:
		put = p.to.Replace // it is damaged: content by its digest has one length
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if !n.raw {
		if _, err := p.to.Stat(ctx, compressed); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	content, err := p.content(ctx, n.blob)
	if err != nil {
		return err
	}
	defer content.Close()
	if n.packed {
		packing := pack(content, n.blob.Size, p.uploaded)
		err = errors.Join(put(ctx, compressed, packing), packing.Close())
	} else if err = put(ctx, raw, content); err == nil { // a file as it is, so that the kernel copies it
		p.uploaded(n.blob.Size)
	}
	if errors.Is(err, fs.ErrExist) {
		return nil // another push was faster
	}
	if err == nil {
		p.files.Add(1)
	}
	return err
}

func (p *push) uploaded(n int64) {
	if total := p.bytes.Add(n); p.opts.Progress != nil {
		p.opts.Progress(total)
	}
}

// content opens verified content: from the store, or from rpc-repo, which may have it in the other
// form. A damaged store must not become a damaged rpc-repo, so it is read once to verify it; the
// second time it comes from memory.
func (p *push) content(ctx context.Context, b store.Blob) (io.ReadCloser, error) {
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

// ownContent copies content of rpc-repo to a temporary file of ours.
func (p *push) ownContent(ctx context.Context, b store.Blob) (io.ReadCloser, error) {
	body, path, err := p.openBlob(ctx, b, true, nil)
	if errors.Is(err, store.ErrNotFound) {
		return nil, fmt.Errorf("blob %s is neither in the store nor in rpc-repo: %w (realize the release again)", b.Digest.Encoded(), err)
	}
	if err != nil {
		return nil, err
	}
	defer body.Close()
	if err := p.blame(path, body, p.store.PutBlob(ctx, body, b)); err != nil {
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

// packer gives the compressed form of content.
type packer struct {
	*io.PipeReader
	count func(int64)
	done  chan struct{}
}

// pack starts to compress src, which has size bytes. Until the packer is closed, src is in use.
func pack(src io.Reader, size int64, count func(int64)) *packer {
	r, w := io.Pipe()
	p := &packer{PipeReader: r, count: count, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
		if err == nil {
			enc.ResetContentSize(w, size)
			_, err = io.Copy(enc, src)
			err = errors.Join(err, enc.Close())
		}
		w.CloseWithError(err)
	}()
	return p
}

func (p *packer) Read(b []byte) (int, error) {
	n, err := p.PipeReader.Read(b)
	p.count(int64(n))
	return n, err
}

func (p *packer) Close() error {
	err := p.PipeReader.Close()
	<-p.done
	return err
}
