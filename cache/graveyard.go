package cache

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"time"

	"github.com/rcbops/rpcbuild/store"
)

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
	err := c.changeGeneration(ctx, func(now *snapshot) ([]byte, error) {
		if now.pointer != c.known.pointer {
			return nil, fmt.Errorf("somebody pushed meanwhile: %w", errAway)
		}
		return g.encode(), nil
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
