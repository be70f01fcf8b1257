package cache

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/rcbops/rpcbuild/store"
)

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
	for _, l := range m.Lines {
		if c.occupied[lineKey(l)] {
			continue
		}
		err := c.changeIndex(ctx, l.File, func(ix index) {
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
	for _, folder := range []string{"history", "generation", "realisation", "bundle", "derivation", "artifact", "content", "cuts", "chunk", "blob"} {
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
