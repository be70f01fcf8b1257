package cache

import (
	"context"
	"path"
	"slices"
	"sync"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/rcbops/rpcbuild/store"
)

// places says where pieces of published content are in rpc-repo, or will be.
type places struct {
	mu sync.Mutex
	at map[digest.Digest]location
}

type location struct {
	path   string
	offset int64
	there  <-chan struct{} // closed when the file is there; nil: it is
}

// add makes known the pieces of a file. It returns the spans of it that files have which were made known
// before, and what to wait for until these are there.
func (p *places) add(path string, pieces content, there <-chan struct{}) (spans []Span, wait map[<-chan struct{}]bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.at == nil {
		p.at = make(map[digest.Digest]location)
	}
	wait = make(map[<-chan struct{}]bool)
	var offset int64
	for _, piece := range pieces {
		at, ok := p.at[piece.Digest]
		switch {
		case !ok:
			p.at[piece.Digest] = location{path, offset, there}
		case at.path != path:
			spans = appendSpan(spans, Span{offset, piece.Size, at.path, at.offset})
			if at.there != nil {
				wait[at.there] = true
			}
		}
		offset += piece.Size
	}
	return spans, wait
}

// appendSpan appends a span, or lets the last one go on, if it does.
func appendSpan(spans []Span, s Span) []Span {
	if n := len(spans) - 1; n >= 0 {
		if end := spans[n].after(spans[n].Size); end.Path == s.Path && end.Offset == s.Offset && end.From == s.From {
			spans[n].Size += s.Size
			return spans
		}
	}
	return append(spans, s)
}

// otherReleases is how many releases are looked at for what a release may share with them, beside itself.
const otherReleases = 3

// findPlaces makes known which pieces rpc-repo has of content like that which is pushed: published by artifacts
// of the same kinds in the releases that were pushed last. What cannot be read there saves nothing.
func (p *push) findPlaces(ctx context.Context) error {
	kinds := make(map[string]bool)
	for _, it := range p.items {
		if len(large(it.manifest)) > 0 {
			kinds[it.Kind] = true
		}
	}
	if _, ok := p.to.(Assembler); !ok || p.repair || len(kinds) == 0 {
		return nil
	}
	var files []FileInfo
	if err := p.to.List(ctx, root+"release", func(f FileInfo) error {
		files = append(files, f)
		return nil
	}); err != nil {
		return err
	}
	slices.SortFunc(files, func(a, b FileInfo) int { return b.Time.Compare(a.Time) })
	seen := make(map[store.ArtifactID]bool)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(p.Repo.opts.Jobs)
	for _, f := range files[:min(len(files), 1+otherReleases)] {
		rel, err := p.Repo.Release(ctx, path.Base(f.Path))
		if err != nil {
			continue
		}
		for _, it := range rel.Items {
			if kinds[it.Kind] && !seen[it.Artifact] {
				seen[it.Artifact] = true
				g.Go(func() error {
					p.findPieces(ctx, it.Artifact)
					return ctx.Err()
				})
			}
		}
	}
	return g.Wait()
}

// findPieces makes known the pieces of what an artifact publishes.
func (p *push) findPieces(ctx context.Context, id store.ArtifactID) {
	m, err := p.manifest(ctx, id)
	if err != nil {
		return
	}
	for _, b := range large(m) {
		if pieces, err := p.Repo.cuts(ctx, b, id); err == nil {
			p.places.add(blobPath(b), pieces, nil)
		}
	}
}
