package apt

import (
	"context"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/rcbops/rpcbuild/derive/download"
)

// A Resolver asks upstreams what they have.
type Resolver struct {
	// RecipesDir is the folder that keyrings are relative to.
	RecipesDir string
	Client     *download.Client
	// Archive tells the URL of a mirror's archive: see [Archives].
	Archive func(Mirror) (string, error)
	// Now tells the time by which keys expire.
	Now func() time.Time
	// Log takes what is worth telling while it goes on. It is called from several goroutines.
	Log func(format string, args ...any)
}

// releaseLimit is how long a release file may be: Debian's have 140 kB. indexLimit is the same for
// an unpacked index: all of Debian's main has 57 MB.
const (
	releaseLimit = 16 << 20
	indexLimit   = 1 << 30
)

// Resolve returns the lock of d. What old, which may be nil, has stays as it is, and nothing is
// asked, unless the definition of the mirror changed or move lists it. A mirror that moves together
// with those that update it, because one filter picks from all of them. If their release files are
// the same as ever, no index is read. Mirrors are read side by side; the first error ends all.
func (r *Resolver) Resolve(ctx context.Context, d *Definition, old *Lock, move []string) (*Lock, error) {
	if err := d.Validate(); err != nil {
		return nil, err
	}
	if old == nil {
		old = &Lock{}
	}
	var all []*upstream
	g, ctx := errgroup.WithContext(ctx)
	for _, members := range d.families() {
		var family []*upstream
		for _, name := range members {
			family = append(family, &upstream{
				Resolver: r, name: name, mirror: d.Mirrors[name],
				lock: d.newMirrorLock(name), old: old.Mirrors[name], move: slices.Contains(move, name),
			})
		}
		all = append(all, family...)
		g.Go(func() error { return resolveFamily(ctx, family) })
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	lock := &Lock{Mirrors: make(map[string]*MirrorLock, len(all))}
	for _, u := range all {
		lock.Mirrors[u.name] = u.lock
	}
	return lock, nil
}

// resolveFamily makes the locks of a mirror and of those that update it.
func resolveFamily(ctx context.Context, family []*upstream) error {
	if !slices.ContainsFunc(family, func(u *upstream) bool { return u.move || !u.fits() }) {
		for _, u := range family {
			u.lock = u.old
		}
		return nil
	}
	if err := each(ctx, family, func(ctx context.Context, u *upstream) error { return u.open(ctx) }); err != nil {
		return err
	}
	if !slices.ContainsFunc(family, func(u *upstream) bool { return !u.fits() || u.old.InRelease != u.lock.InRelease }) {
		for _, u := range family {
			u.lock.Packages = u.old.Packages
			u.Log("apt: mirror %s is unchanged: %d packages", u.name, len(u.lock.Packages))
		}
		return nil
	}
	if err := each(ctx, family, func(ctx context.Context, u *upstream) error { return u.read(ctx) }); err != nil {
		return err
	}
	return pick(family)
}

// each calls fn for all mirrors of a family, side by side.
func each(ctx context.Context, family []*upstream, fn func(context.Context, *upstream) error) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, u := range family {
		g.Go(func() error {
			if err := fn(ctx, u); err != nil {
				return fmt.Errorf("mirror %s: %w", u.name, err)
			}
			return nil
		})
	}
	return g.Wait()
}

// pick evaluates the filter of a family and gives each mirror's lock what came from it.
func pick(family []*upstream) error {
	base := family[0]
	lists := make([][]candidate, len(family))
	from := make(map[string]*upstream, len(family))
	for i, u := range family {
		lists[i], from[u.name] = u.list, u
		for j := range u.list {
			u.list[j].mirror = u.name
		}
	}
	ix, err := newIndex(lists...)
	if err != nil {
		return err
	}
	chosen, err := ix.filter(base.mirror, base.lock.Architectures, len(family) > 1)
	if err != nil {
		return fmt.Errorf("mirror %s: %w", base.name, err)
	}
	for c := range chosen {
		u := from[c.mirror]
		p, err := c.lock()
		if err != nil {
			return fmt.Errorf("mirror %s: %w", u.name, err)
		}
		u.lock.Packages = append(u.lock.Packages, p)
	}
	for _, u := range family {
		slices.SortFunc(u.lock.Packages, comparePackages)
		u.Log("apt: mirror %s: %d packages of %d", u.name, len(u.lock.Packages), len(u.list))
	}
	return nil
}
