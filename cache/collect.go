package cache

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// CollectOptions say what a gc keeps.
type CollectOptions struct {
	// Keep is how many locks of a release keep their artifacts, the newest first; 0 means 3.
	Keep int
	// MaxSize, if not 0, is how many bytes the files under cache/v1 may take that what stays on the list needs: to
	// reach it, further locks go, the oldest first, but never the newest one of a release.
	MaxSize int64
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
	Dropped  int // locks that Keep would have kept, and MaxSize did not
	// Size is what the files take that what stays on the list needs, in bytes, if MaxSize was set; Over is by how
	// much that is too much.
	Size, Over int64
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
	c := &collection{tenant: tenant{Repo: r, to: w}, opts: opts, live: make(map[string]bool), occupied: make(map[string]bool)}
	if err := c.run(ctx); err != nil {
		return c.stats, fmt.Errorf("gc of rpc-repo %s: %w", r, err)
	}
	return c.stats, nil
}

// collection is one call of Collect.
type collection struct {
	tenant
	opts  CollectOptions
	stats CollectStats

	known    *snapshot
	locks    []keptLock
	named    map[hint]bool // by the locks
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
	for _, step := range []func(context.Context) error{c.readReleases, c.fit, c.bury, c.mark, c.unpublish, c.sweep} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}
