package cache

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/rcbops/rpcbuild/store"
)

// publishNames gives content its names under the consumers' paths: item after item, because a later
// one may speak of an earlier one's files, and within an item what is spoken of first.
func (p *push) publishNames(ctx context.Context) error {
	for _, it := range p.items {
		for _, step := range publishOrder(it.manifest.Publish) {
			if err := p.publishAll(ctx, it, step); err != nil {
				return fmt.Errorf("%s: %w", it.Name, err)
			}
		}
	}
	return nil
}

// publishOrder sorts publications into steps: files, links to them, the indexes that a signed file
// names, the signed files, and last links to what came in the two steps before, in the same order.
// Below a signed file's folder, what has its digest for a name (by-hash) is a file like any other:
// no reader looks for it before the signed file names it.
func publishOrder(all []store.Publication) [6][]store.Publication {
	var signed []string
	for _, pub := range all {
		if pub.Sign != "" {
			signed = append(signed, path.Dir(pub.Path)+"/")
		}
	}
	index := func(name string) bool {
		for _, dir := range signed {
			if strings.HasPrefix(name, dir) && !strings.Contains(name, "/by-hash/") {
				return true
			}
		}
		return false
	}
	var steps [6][]store.Publication
	for _, pub := range all {
		step := 0
		switch {
		case pub.Sign != "":
			step = 3
		case index(pub.Path):
			step = 2
		case slices.Contains(signed, path.Dir(pub.Link)+"/"): // the signed file, or an envelope of it
			step = 5
		case index(pub.Link):
			step = 4
		case pub.Link != "":
			step = 1
		}
		steps[step] = append(steps[step], pub)
	}
	return steps
}

func (p *push) publishAll(ctx context.Context, it *pushItem, pubs []store.Publication) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(p.Repo.opts.Jobs)
	for _, pub := range pubs {
		g.Go(func() error {
			err := p.publish(ctx, it, pub)
			if errors.Is(err, fs.ErrExist) {
				return p.published(it, pub.Path)
			}
			return err
		})
	}
	return g.Wait()
}

func (p *push) publish(ctx context.Context, it *pushItem, pub store.Publication) error {
	if pub.Link != "" {
		if _, err := p.to.Stat(ctx, pub.Link); err != nil {
			return fmt.Errorf("link %s: %w (what it leads to is published by none of the items before it)", pub.Path, err)
		}
	}
	if p.repair {
		if err := p.removeWrong(ctx, it.manifest, pub); err != nil {
			return err
		}
	}
	replace := p.opts.Replace || p.repair
	if pub.Link != "" {
		return p.to.Symlink(ctx, pub.Path, pub.Link, replace)
	}
	e, _ := it.manifest.Lookup(pub.File) // a manifest that publishes what it lacks does not decode
	if err := p.to.Link(ctx, pub.Path, blobPath(e.Blob()), replace); err != nil {
		return err
	}
	if pub.Sign != "" {
		return p.sign(ctx, pub.Path, e.Blob())
	}
	return nil
}

// removeWrong removes what a repair puts back. S3 would take a copy for whole that has its source's tag.
func (p *push) removeWrong(ctx context.Context, m *store.Manifest, pub store.Publication) error {
	state, err := p.state(ctx, m, pub)
	if err != nil || state != Wrong {
		return err
	}
	return p.to.Remove(ctx, pub.Path)
}
