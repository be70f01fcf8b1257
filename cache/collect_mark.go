package cache

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/rcbops/rpcbuild/store"
)

// readReleases finds out what releases name: what they are made of, and what they were before the last
// locks.
func (c *collection) readReleases(ctx context.Context) error {
	c.named, c.history = make(map[hint]bool), make(map[string]bool)
	var names []string
	err := c.to.List(ctx, root+"release", func(f FileInfo) error {
		names = append(names, path.Base(f.Path))
		return nil
	})
	if err != nil {
		return err
	}
	for _, name := range names {
		rel, err := c.Release(ctx, name)
		if err != nil {
			return err
		}
		c.stats.Releases++
		for n := 1; ; n++ {
			for _, it := range rel.Items {
				c.named[it.hint()] = true
			}
			if rel.previous == "" || n == c.opts.Keep {
				break
			}
			if rel, err = c.before(ctx, rel); err != nil {
				return err
			}
			if rel.Name == "" {
				break
			}
		}
	}
	return nil
}

// before returns what a release was under its lock before, or nothing if an earlier gc removed that.
func (c *collection) before(ctx context.Context, rel Release) (Release, error) {
	name := historyPath(rel.previous)
	b, err := c.read(ctx, name, releaseLimit)
	if errors.Is(err, fs.ErrNotExist) {
		return Release{}, nil
	}
	if err != nil {
		return Release{}, err
	}
	if got := store.HashBlob(b).Digest.Encoded(); got != rel.previous {
		return Release{}, c.wrong(name, fmt.Errorf("its SHA-256 is %s", got))
	}
	before, err := openRelease(b, c.Repo.opts.Trust)
	if err != nil {
		return Release{}, c.wrong(name, err)
	}
	c.history[name] = true
	return before, nil
}

// keepGeneration marks the files of a generation that readers may have before them.
func (c *collection) keepGeneration(s *snapshot) {
	if s.pointer.Sequence > 0 {
		c.live[generationPath(s.pointer.Generation)] = true
	}
	for _, ref := range s.bundles {
		c.live[bundlePath(ref)] = true
	}
}

// mark finds the files that what is on the list needs, or what was until lately.
func (c *collection) mark(ctx context.Context) error {
	c.keepGeneration(c.known)
	for name := range c.history {
		c.live[name] = true
	}
	hints := make(map[hint]bool, len(c.known.rows)+len(c.graves))
	for _, r := range c.known.rows {
		hints[r.hint] = true
	}
	for h := range c.graves {
		hints[h] = true
	}
	for _, h := range c.expired {
		delete(hints, h)
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(c.Repo.opts.Jobs)
	var mu sync.Mutex
	for h := range hints {
		g.Go(func() error {
			m, list, err := c.needs(ctx, h)
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			c.markItem(h, m, list)
			return nil
		})
	}
	return g.Wait()
}

// needs reads what an artifact is made of.
func (c *collection) needs(ctx context.Context, h hint) (*store.Manifest, content, error) {
	m, err := c.manifest(ctx, h.artifact)
	if err != nil {
		return nil, nil, err
	}
	blobs := streamed(m)
	if len(blobs) == 0 {
		return m, nil, nil
	}
	list, err := c.content(ctx, h.artifact, blobs)
	return m, list, err
}

func (c *collection) markItem(h hint, m *store.Manifest, list content) {
	for _, name := range []string{statementPath(h), derivationPath(h.drv), manifestPath(h.artifact), contentPath(h.artifact)} {
		c.live[name] = true
	}
	for _, chunk := range list {
		c.live[chunkPath(chunk.Digest)] = true
	}
	for _, b := range published(m) {
		c.live[blobPath(b)], c.live[cutsPath(b)] = true, true
	}
	for _, pub := range m.Publish {
		c.occupied[pub.Path] = true
	}
	for _, l := range m.Lines {
		c.occupied[lineKey(l)] = true
	}
}
