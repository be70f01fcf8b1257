package cache

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/rcbops/rpcbuild/store"
)

// CollectOptions say what a gc keeps.
type CollectOptions struct {
	// Keep is how many locks of a release keep their artifacts, the newest first; 0 means 3.
	Keep int
	// Grace is how long files stay after they were taken off the list, for readers who have an older
	// one, and how old files must be that nobody ever named; 0 means a week.
	Grace time.Duration
	// DryRun changes nothing.
	DryRun bool
	// Waiting, if set, is told whom a gc must wait for.
	Waiting func(Lease)
	// Now is the time; zero means that of the clock.
	Now time.Time
}

// CollectStats say what a gc did, or would do.
type CollectStats struct {
	Live     int   // artifacts that a release names
	Buried   int   // artifacts that were taken off the list now
	Waiting  int   // artifacts that were before, and whose grace has not ended
	Removed  int   // artifacts whose files were removed
	Files    int   // that were removed
	Bytes    int64 // of them
	Releases int
}

const (
	defaultKeep  = 3
	defaultGrace = 7 * 24 * time.Hour
)

// Collect removes what no release names. First, artifacts are taken off the list: the next generation does
// not have them. When their grace has ended, their names in the consumers' tree, their lines in indexes
// and their files go, in this order. A push of one of them meanwhile puts it back on the list.
//
// Pushes wait for it, and it waits for pushes. Killed at any moment, it leaves no name without its
// content, and the next one carries on. Where anything that says what is alive cannot be read, nothing is
// removed.
func (r *Repo) Collect(ctx context.Context, opts CollectOptions) (stats CollectStats, err error) {
	w, ok := r.backend.(Writer)
	if !ok {
		return stats, fmt.Errorf("gc of rpc-repo %s: it can only be read", r)
	}
	if opts.Keep <= 0 {
		opts.Keep = defaultKeep
	}
	if opts.Grace <= 0 {
		opts.Grace = defaultGrace
	}
	if opts.Now.IsZero() {
		opts.Now = time.Now()
	}
	c := &collection{Repo: r, to: w, opts: opts, live: make(map[string]bool), occupied: make(map[string]bool)}
	if err := c.run(ctx); err != nil {
		return c.stats, fmt.Errorf("gc of rpc-repo %s: %w", r, err)
	}
	return c.stats, nil
}

// collection is one call of Collect.
type collection struct {
	*Repo
	to    Writer
	opts  CollectOptions
	lease *tenure
	stats CollectStats

	known    *snapshot
	history  map[string]bool // files of releases before the newest that count
	named    map[hint]bool   // by releases
	graves   graveyard
	expired  []hint // graves whose grace has ended
	live     map[string]bool
	occupied map[string]bool // consumers' paths and index keys of what is alive
}

func (c *collection) run(ctx context.Context) (err error) {
	if !c.opts.DryRun {
		if c.lease, err = c.enter(ctx, c.to, leaseGC, c.opts.Waiting); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, c.lease.leave(ctx)) }()
	}
	if c.known, err = c.newest(ctx); err != nil {
		return err
	}
	c.keepGeneration(c.known) // of whoever read the pointer a moment ago
	for _, step := range []func(context.Context) error{c.readReleases, c.bury, c.mark, c.unpublish, c.sweep} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

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

// A graveyard says since when artifacts are off the list. Its file is JSON.
type graveyard map[hint]time.Time

const (
	gravePath  = root + "tombstones"
	graveLimit = 256 << 20
)

type tombstone struct {
	Drv      store.DrvID      `json:"drv"`
	Artifact store.ArtifactID `json:"artifact"`
	Since    time.Time        `json:"since"`
}

func parseGraveyard(b []byte) (graveyard, error) {
	g := make(graveyard)
	if b == nil {
		return g, nil
	}
	var list []tombstone
	if err := json.Unmarshal(b, &list); err != nil {
		return nil, fmt.Errorf("parse tombstones: %w", err)
	}
	for _, t := range list {
		g[hint{t.Drv, t.Artifact}] = t.Since
	}
	return g, nil
}

func (g graveyard) encode() ([]byte, error) {
	list := make([]tombstone, 0, len(g))
	for _, h := range slices.SortedFunc(maps.Keys(g), hint.compare) {
		list = append(list, tombstone{h.drv, h.artifact, g[h]})
	}
	return store.CanonicalJSON(list)
}

// bury takes what no release names off the list, after it has written down since when. What a push put back
// on the list has no tombstone any more.
func (c *collection) bury(ctx context.Context) error {
	b, err := c.read(ctx, gravePath, graveLimit)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if c.graves, err = parseGraveyard(b); err != nil {
		return c.wrong(gravePath, err)
	}
	var stay []entry
	for _, e := range c.known.entries() {
		if c.named[e.hint] {
			stay = append(stay, e)
			delete(c.graves, e.hint)
		} else if _, ok := c.graves[e.hint]; !ok {
			c.graves[e.hint] = c.opts.Now.UTC().Truncate(time.Second)
			c.stats.Buried++
		}
	}
	c.stats.Live = len(stay)
	for h, since := range c.graves {
		if c.opts.Now.Sub(since) >= c.opts.Grace {
			c.expired = append(c.expired, h)
		} else {
			c.stats.Waiting++
		}
	}
	c.stats.Waiting -= c.stats.Buried
	c.stats.Removed = len(c.expired)
	if c.opts.DryRun {
		return nil
	}
	if err := c.writeGraves(ctx); err != nil {
		return err
	}
	if len(stay) == len(c.known.rows) {
		return nil
	}
	return c.publish(ctx, newGeneration(stay))
}

func (c *collection) writeGraves(ctx context.Context) error {
	b, err := c.graves.encode()
	if err != nil {
		return err
	}
	return c.to.Update(ctx, gravePath, graveLimit, func([]byte) ([]byte, error) { return b, nil })
}

// publish makes g the newest generation.
func (c *collection) publish(ctx context.Context, g *generation) error {
	if err := c.lease.hold(ctx); err != nil {
		return err
	}
	p := &push{Repo: c.Repo, to: c.to}
	err := c.to.Update(ctx, currentPath, pointerLimit, func(old []byte) ([]byte, error) {
		if err := c.lease.held(); err != nil {
			return nil, err
		}
		now, err := p.current(ctx, old)
		if err != nil {
			return nil, err
		}
		if now.pointer != c.known.pointer {
			return nil, fmt.Errorf("somebody pushed meanwhile: %w", errAway)
		}
		return p.makeGeneration(ctx, now.pointer.Sequence+1, g)
	})
	if err != nil {
		return err
	}
	if err := c.to.Flush(ctx); err != nil {
		return err
	}
	c.known, err = c.newest(ctx)
	return err
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
		c.live[blobPath(b)] = true
	}
	for _, pub := range m.Publish {
		c.occupied[pub.Path] = true
	}
	for _, l := range m.Lines {
		c.occupied[lineKey(l)] = true
	}
}

// unpublish removes the consumers' names and lines of what is removed, as far as nothing that is alive has
// the same.
func (c *collection) unpublish(ctx context.Context) error {
	for _, h := range c.expired {
		m, err := c.manifest(ctx, h.artifact)
		if errors.Is(err, store.ErrNotFound) {
			continue // an earlier gc got this far
		}
		if err != nil {
			return err
		}
		if err := c.removeLines(ctx, m); err != nil {
			return err
		}
		for _, pub := range m.Publish {
			if c.occupied[pub.Path] {
				continue
			}
			names := []string{pub.Path}
			if pub.Sign != "" { // apt reads InRelease first
				names = []string{path.Join(path.Dir(pub.Path), "InRelease"), pub.Path + ".gpg", pub.Path}
			}
			for _, name := range names {
				if err := c.remove(ctx, name); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// remove removes a consumer's name. Its bytes are counted where the content is.
func (c *collection) remove(ctx context.Context, name string) error {
	if c.opts.DryRun {
		return nil
	}
	return c.to.Remove(ctx, name)
}

func (c *collection) removeLines(ctx context.Context, m *store.Manifest) error {
	if c.opts.DryRun {
		return nil
	}
	p := &push{Repo: c.Repo, to: c.to}
	for _, l := range m.Lines {
		if c.occupied[lineKey(l)] {
			continue
		}
		err := p.changeIndex(ctx, l.File, func(ix index) {
			if ix[l.Key] == l.Line {
				delete(ix, l.Key)
			}
		})
		if err != nil {
			return fmt.Errorf("index %s: %w", l.File, err)
		}
	}
	return nil
}

// lineKey names a line of an index, which no path can be equal to.
func lineKey(l store.Line) string { return l.File + "\n" + l.Key }

// sweep removes the files of rpc-repo's own that nothing alive needs: names before what they name.
func (c *collection) sweep(ctx context.Context) error {
	byFolder := make(map[string][]FileInfo) // of what is not alive
	err := c.to.List(ctx, strings.TrimSuffix(root, "/"), func(f FileInfo) error {
		folder, _, below := strings.Cut(strings.TrimPrefix(f.Path, root), "/")
		if below && !c.live[f.Path] {
			byFolder[folder] = append(byFolder[folder], f)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, folder := range []string{"history", "generation", "realisation", "bundle", "derivation", "artifact", "content", "chunk", "blob"} {
		for _, f := range byFolder[folder] {
			// What nobody names yet may be of a push that was killed, and will be carried on. What was
			// removed from the list is older than its grace anyway.
			if c.opts.Now.Sub(f.Time) < c.opts.Grace {
				continue
			}
			c.stats.Files++
			c.stats.Bytes += f.Size
			if c.opts.DryRun {
				continue
			}
			if err := c.lease.held(); err != nil {
				return err
			}
			if err := c.to.Remove(ctx, f.Path); err != nil {
				return err
			}
		}
	}
	if c.opts.DryRun || len(c.expired) == 0 {
		return nil
	}
	for _, h := range c.expired {
		delete(c.graves, h)
	}
	return c.writeGraves(ctx)
}
