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

// A keptLock is a lock of a release whose artifacts stay.
type keptLock struct {
	Release
	path   string // of its file
	newest bool   // of its release's
}

// readReleases finds out what releases name: what they are made of, and what they were under the locks before.
func (c *collection) readReleases(ctx context.Context) error {
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
		c.locks = append(c.locks, keptLock{rel, releasePath(name), true})
		for n := 1; n < c.opts.Keep && rel.previous != ""; n++ {
			file := historyPath(rel.previous)
			if rel, err = c.before(ctx, rel); err != nil {
				return err
			}
			if rel.Name == "" {
				break
			}
			c.locks = append(c.locks, keptLock{rel, file, false})
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
	for _, l := range c.locks {
		c.live[l.path] = true
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

// filesOf returns the files under cache/v1 that an artifact is made of.
func filesOf(h hint, m *store.Manifest, list content) []string {
	files := []string{statementPath(h), derivationPath(h.drv), manifestPath(h.artifact), contentPath(h.artifact)}
	for _, chunk := range list {
		files = append(files, chunkPath(chunk.Digest))
	}
	for _, b := range published(m) {
		files = append(files, blobPath(b), cutsPath(b))
	}
	return files
}

func (c *collection) markItem(h hint, m *store.Manifest, list content) {
	for _, name := range filesOf(h, m, list) {
		c.live[name] = true
	}
	for _, pub := range m.Publish {
		c.occupied[pub.Path] = true
	}
	for _, l := range m.Lines {
		c.occupied[lineKey(l)] = true
	}
}
