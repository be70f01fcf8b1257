package apt

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"path"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/rcbops/rpcbuild/derive/download"
	"github.com/rcbops/rpcbuild/store"
)

// A Resolver asks upstreams what they have.
type Resolver struct {
	// RecipesDir is the folder that keyrings are relative to.
	RecipesDir string
	Client     *download.Client
	// Host reads the archives of this machine. It is called only for a mirror that asks for them.
	Host func() (HostArchives, error)
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

// Resolve returns the lock of d as upstreams are now. A mirror of old, which may be nil, is taken
// as it is when the definition of it and its release file are the same: then no index is read.
// Mirrors are read side by side; the first error ends all.
func (r *Resolver) Resolve(ctx context.Context, d *Definition, old *Lock) (*Lock, error) {
	if err := d.Validate(); err != nil {
		return nil, err
	}
	if old == nil {
		old = &Lock{}
	}
	names := sortedKeys(d.Mirrors)
	read := make(map[string]*upstream, len(names))
	archive := d.Archive(r.Host)
	g, gctx := errgroup.WithContext(ctx)
	for _, name := range names {
		u := &upstream{resolver: r, name: name, mirror: d.Mirrors[name], arches: d.Architectures, lock: d.newMirrorLock(name)}
		read[name] = u
		g.Go(func() error {
			err := u.open(gctx, archive)
			if err != nil {
				return fmt.Errorf("mirror %s: %w", name, err)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	families := d.families()
	g, gctx = errgroup.WithContext(ctx)
	for _, name := range sortedKeys(families) {
		family := make([]*upstream, 0, len(families[name]))
		for _, member := range families[name] {
			family = append(family, read[member])
		}
		g.Go(func() error { return r.resolveFamily(gctx, family, old) })
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	lock := &Lock{Mirrors: make(map[string]*MirrorLock, len(names))}
	for name, u := range read {
		lock.Mirrors[name] = u.lock
	}
	return lock, nil
}

// resolveFamily fills in the packages of a mirror and of those that update it.
func (r *Resolver) resolveFamily(ctx context.Context, family []*upstream, old *Lock) error {
	changed := slices.ContainsFunc(family, func(u *upstream) bool { return !u.unchanged(old.Mirrors[u.name]) })
	if !changed {
		for _, u := range family {
			u.lock.Packages = old.Mirrors[u.name].Packages
			r.Log("apt: %s is unchanged: %d packages", u.name, len(u.lock.Packages))
		}
		return nil
	}
	lists := make([][]candidate, len(family))
	g, gctx := errgroup.WithContext(ctx)
	for i, u := range family {
		g.Go(func() (err error) {
			if lists[i], err = u.read(gctx, i); err != nil {
				return fmt.Errorf("mirror %s: %w", u.name, err)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	base := family[0]
	ix, err := newIndex(lists...)
	if err != nil {
		return fmt.Errorf("mirror %s: %w", base.name, err)
	}
	chosen, err := ix.filter(base.mirror, base.arches, len(family) > 1)
	if err != nil {
		return fmt.Errorf("mirror %s: %w", base.name, err)
	}
	for c := range chosen {
		p, err := c.lock()
		if err != nil {
			return fmt.Errorf("mirror %s: %w", family[c.mirror].name, err)
		}
		to := family[c.mirror].lock
		to.Packages = append(to.Packages, p)
	}
	for i, u := range family {
		slices.SortFunc(u.lock.Packages, comparePackages)
		r.Log("apt: %s: %d packages of %d", u.name, len(u.lock.Packages), len(lists[i]))
	}
	return nil
}

// upstream is one mirror while it is resolved.
type upstream struct {
	resolver *Resolver
	name     string
	mirror   Mirror
	arches   []string
	suiteURL string
	release  []byte // verified
	lock     *MirrorLock
}

// open reads and verifies the release file.
func (u *upstream) open(ctx context.Context, archive func(string) (string, error)) error {
	k, err := readKeyring(u.mirror.Keyring, filepath.Join(u.resolver.RecipesDir, filepath.FromSlash(u.mirror.Keyring)))
	if err != nil {
		return err
	}
	root, err := archive(u.name)
	if err != nil {
		return err
	}
	u.suiteURL = root + "/dists/" + escapePath(u.mirror.Suite)
	u.lock.Keyring = k.text
	signed, err := u.openRelease(ctx, k)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(signed)
	u.lock.InRelease = hex.EncodeToString(sum[:])
	rel, err := parseRelease(u.release)
	if err != nil {
		return err
	}
	u.lock.Date = rel.date
	return nil
}

// openRelease returns the bytes that stand for the state of the suite: InRelease, or, where an
// archive has none, Release, whose signature lies beside it.
func (u *upstream) openRelease(ctx context.Context, k *keyring) (signed []byte, err error) {
	at := u.suiteURL + "/InRelease"
	now := u.resolver.Now()
	signed, _, err = u.resolver.Client.Get(ctx, at, releaseLimit, nil)
	var status *download.StatusError
	switch {
	case errors.As(err, &status) && status.Code == http.StatusNotFound:
		return u.openDetached(ctx, k)
	case err != nil:
		return nil, err
	}
	if u.release, u.lock.SignedBy, err = k.clearsigned(signed, now); err != nil {
		return nil, fmt.Errorf("verify %s: %w", at, err)
	}
	return signed, nil
}

func (u *upstream) openDetached(ctx context.Context, k *keyring) ([]byte, error) {
	at := u.suiteURL + "/Release"
	text, _, err := u.resolver.Client.Get(ctx, at, releaseLimit, nil)
	if err != nil {
		return nil, fmt.Errorf("%w (is there a suite %s?)", err, u.mirror.Suite)
	}
	signature, _, err := u.resolver.Client.Get(ctx, at+".gpg", releaseLimit, nil)
	if err != nil {
		return nil, err
	}
	if u.lock.SignedBy, err = k.detached(text, signature, u.resolver.Now()); err != nil {
		return nil, fmt.Errorf("verify %s: %w", at, err)
	}
	u.release = text
	return text, nil
}

func (u *upstream) unchanged(old *MirrorLock) bool {
	return old != nil && old.InRelease == u.lock.InRelease && old.difference(u.lock) == ""
}

// read reads the mirror's indexes, side by side.
func (u *upstream) read(ctx context.Context, mirror int) ([]candidate, error) {
	rel, err := parseRelease(u.release)
	if err != nil {
		return nil, err
	}
	files, err := rel.indexes(u.mirror.Components, u.arches)
	if err != nil {
		return nil, err
	}
	lists := make([][]candidate, len(files))
	g, ctx := errgroup.WithContext(ctx)
	for i, f := range files {
		g.Go(func() error {
			packed, err := u.fetch(ctx, f, rel.byHash)
			if err != nil {
				return err
			}
			content, err := unpack(f.name, packed)
			if err == nil {
				lists[i], err = parseIndex(content, mirror)
			}
			if err != nil {
				return fmt.Errorf("read %s/%s: %w", u.suiteURL, f.name, err)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return slices.Concat(lists...), nil
}

// fetch returns an index as it is upstream, verified. By its hash it can be had also while the
// archive is being updated; an archive that says that it has those may lack some.
func (u *upstream) fetch(ctx context.Context, f indexFile, byHash bool) ([]byte, error) {
	urls := []string{u.suiteURL + "/" + escapePath(f.name)}
	if byHash {
		dir := u.suiteURL + "/" + escapePath(path.Dir(f.name))
		urls = slices.Insert(urls, 0, dir+"/by-hash/SHA256/"+f.blob.Digest.Encoded())
	}
	var content []byte
	var err error
	for _, at := range urls {
		if content, _, err = u.resolver.Client.Get(ctx, at, f.blob.Size, nil); err != nil {
			continue
		}
		if got := store.HashBlob(content); got != f.blob {
			err = &store.DigestError{What: at, Want: f.blob, Got: got}
			continue
		}
		return content, nil
	}
	return nil, err
}
