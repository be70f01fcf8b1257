package cache

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/rcbops/rpcbuild/store"
)

// fit decides which locks keep their artifacts: where these take too much room, the oldest go.
func (c *collection) fit(ctx context.Context) error {
	if c.opts.MaxSize > 0 {
		if err := c.dropLocks(ctx); err != nil {
			return err
		}
	}
	c.named = make(map[hint]bool)
	for _, l := range c.locks {
		for _, it := range l.Items {
			c.named[it.hint()] = true
		}
	}
	return nil
}

// A neededFile is a file under cache/v1.
type neededFile struct {
	size  int64
	time  time.Time
	users int // how often artifacts that stay name it
}

func (c *collection) dropLocks(ctx context.Context) error {
	files := make(map[string]*neededFile)
	err := c.to.List(ctx, strings.TrimSuffix(root, "/"), func(f FileInfo) error {
		files[f.Path] = &neededFile{size: f.Size, time: f.Time}
		return nil
	})
	if err != nil {
		return err
	}
	users := make(map[hint]int) // of an artifact: locks
	parts := make(map[hint][]*neededFile)
	for _, l := range c.locks {
		for _, it := range l.Items {
			h := it.hint()
			if users[h]++; users[h] > 1 {
				continue
			}
			if parts[h], err = c.parts(ctx, h, files); err != nil {
				return err
			}
			for _, f := range parts[h] {
				if f.users++; f.users == 1 {
					c.stats.Size += f.size
				}
			}
		}
	}
	replaced := func(l keptLock) (t time.Time) { // a lock's file is as old as the push of the next lock
		if f, ok := files[l.path]; ok {
			t = f.time
		}
		return t
	}
	slices.SortStableFunc(c.locks, func(a, b keptLock) int { return replaced(a).Compare(replaced(b)) })
	c.locks = slices.DeleteFunc(c.locks, func(l keptLock) bool {
		if l.newest || c.stats.Size <= c.opts.MaxSize {
			return false
		}
		for _, it := range l.Items {
			h := it.hint()
			if users[h]--; users[h] > 0 {
				continue
			}
			for _, f := range parts[h] {
				if f.users--; f.users == 0 {
					c.stats.Size -= f.size
				}
			}
		}
		c.stats.Dropped++
		return true
	})
	c.stats.Over = max(0, c.stats.Size-c.opts.MaxSize)
	return nil
}

// parts returns those of the files that an artifact is made of; none if an earlier gc removed it.
func (c *collection) parts(ctx context.Context, h hint, files map[string]*neededFile) (parts []*neededFile, err error) {
	m, list, err := c.needs(ctx, h)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	for _, name := range filesOf(h, m, list) {
		if f, ok := files[name]; ok {
			parts = append(parts, f)
		}
	}
	return parts, nil
}
