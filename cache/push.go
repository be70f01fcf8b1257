package cache

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/rcbops/rpcbuild/store"
	"github.com/rcbops/rpcbuild/store/signature"
)

// PushOptions say how a push is done.
type PushOptions struct {
	// Replace publishes in place of what other content a consumer's path has, and of what other
	// artifact a derivation is known to give. Otherwise both are errors, before anything is changed.
	Replace bool
	// Waiting, if set, is told whom a push must wait for: a gc.
	Waiting func(Lease)
	// Progress, if set, is called with the number of bytes that were uploaded, by several
	// goroutines at a time.
	Progress func(int64)
}

// PushStats say what a push did.
type PushStats struct {
	Artifacts int   // that rpc-repo lacked
	Present   int   // that it had
	Files     int   // of content that were uploaded
	Bytes     int64 // of them, as they are kept
}

// A PublishedError says that a consumer's path has other content already.
type PublishedError struct {
	Repo, Path string
	Item       string // what was to be published there
}

func (e *PublishedError) Error() string {
	return fmt.Sprintf("publish %s: %s of rpc-repo %s has other content already, which clients may rely on (--replace replaces it)",
		e.Item, e.Path, e.Repo)
}

// Push publishes a release: what rpc-repo lacks of it, in the order that README.md beside this file
// explains. A reader never sees a name whose content is not there; an interrupted push is carried
// on by the next one. Content that st lacks must be in rpc-repo. Other content for one derivation is
// a [*store.ConflictError], other content at a consumer's path a [*PublishedError].
//
// Any number of processes may push at the same time.
func (r *Repo) Push(ctx context.Context, st *store.Store, rel Release, opts PushOptions) (PushStats, error) {
	w, ok := r.backend.(Writer)
	if !ok {
		return PushStats{}, fmt.Errorf("push release %s: rpc-repo %s can only be read: push to the folder that it serves", rel.Name, r)
	}
	for {
		p := &push{tenant: tenant{Repo: r, to: w}, store: st, opts: opts, slots: newChunkSlots(2 * r.opts.Jobs)}
		err := p.run(ctx, rel)
		if errors.Is(err, errAway) && ctx.Err() == nil {
			continue
		}
		if err != nil {
			return p.stats(), fmt.Errorf("push release %s: %w", rel.Name, err)
		}
		return p.stats(), nil
	}
}

// push is one call of Push.
type push struct {
	tenant
	store   *store.Store
	opts    PushOptions
	items   []*pushItem // those that rpc-repo lacks
	vouched []*pushItem // those of which this store has a signature that rpc-repo lacks
	present int
	lines   map[lineName]bool // in a repair, those that artifacts on the list have

	chunks sync.Map        // digests of chunks that are there, or on their way
	slots  chan *chunkSlot // one a chunk in memory
	cuts   sync.Map        // the pieces of published content: content by store.Blob
	places places          // of such pieces

	files, bytes atomic.Int64
}

// pushItem is an item with what there is to say of it.
type pushItem struct {
	Item
	manifest   *store.Manifest
	statement  store.Statement
	derivation []byte  // nil: not known here
	content    content // how its stream is cut
	metadata   bundleRef
}

func (p *push) stats() PushStats {
	return PushStats{Artifacts: len(p.items), Present: p.present, Files: int(p.files.Load()), Bytes: p.bytes.Load()}
}

func (p *push) run(ctx context.Context, rel Release) (err error) {
	if err := rel.validate(); err != nil {
		return err
	}
	if done, err := p.nothing(ctx, rel); done || err != nil {
		return err
	}
	if p.lease, err = p.enter(ctx, p.to, leasePush, p.opts.Waiting); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.lease.leave(ctx)) }()
	if err := p.choose(ctx, rel.Items); err != nil { // again: a gc may have gone before
		return err
	}
	if len(p.items) > 0 {
		steps := []func(context.Context) error{
			p.describe, p.check,
			p.uploadContent, p.to.Flush,
			p.publishNames, p.to.Flush,
			p.uploadManifests, p.to.Flush,
			p.uploadStatements, p.to.Flush,
			p.updateIndexes,
		}
		for _, step := range steps {
			if err := step(ctx); err != nil {
				return err
			}
		}
	}
	if err := p.vouch(ctx); err != nil {
		return err
	}
	if len(p.items)+len(p.vouched) > 0 || !p.mine(p.held().pointer.signer) {
		if err := p.updateGeneration(ctx, rel); err != nil {
			return err
		}
	}
	if err := p.updateRelease(ctx, rel); err != nil {
		return err
	}
	if err := p.updateIndexPage(ctx); err != nil {
		return err
	}
	return p.to.Flush(ctx)
}

// nothing reports whether rpc-repo has the release as it is: two requests.
func (p *push) nothing(ctx context.Context, rel Release) (bool, error) {
	if err := p.choose(ctx, rel.Items); err != nil || len(p.items)+len(p.vouched) > 0 {
		return false, err
	}
	before, err := p.Repo.Release(ctx, rel.Name)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	return err == nil && mergeReleases(before, rel).same(before) && p.mine(before.signer) && p.mine(p.held().pointer.signer), err
}

// mine reports whether what signer signed need not be signed by this machine, too: clients may trust it and
// not who pushed before.
func (p *push) mine(signer signature.PublicKey) bool {
	return p.Repo.opts.Key == nil || p.Repo.opts.Key.Public() == signer
}

// choose picks the items that the newest generation does not hold.
func (p *push) choose(ctx context.Context, items []Item) error {
	known, err := p.newest(ctx)
	if err != nil {
		return err
	}
	p.items, p.vouched, p.present = nil, nil, 0
	chosen := make(map[store.DrvID]bool)
	for _, it := range items {
		if known.has(it.hint()) {
			p.present++
			if err := p.compareStatement(ctx, known, it); err != nil {
				return err
			}
		} else if !chosen[it.Drv] {
			chosen[it.Drv] = true
			p.items = append(p.items, &pushItem{Item: it})
		}
	}
	return nil
}

// compareStatement notes an item that this machine's key signed and that rpc-repo does not know it has
// signed: another builder came to the same.
func (p *push) compareStatement(ctx context.Context, known *snapshot, it Item) error {
	if p.Repo.opts.Key == nil {
		return nil
	}
	mine, err := p.store.Statement(it.Drv, it.Artifact)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if !slices.Contains(mine.Signers(), p.Repo.opts.Key.Public()) {
		return nil
	}
	rows := known.of(it.Drv)
	i := slices.IndexFunc(rows, func(r row) bool { return r.hint == it.hint() })
	theirs, err := p.bundledStatement(ctx, known.entry(rows[i]))
	if err != nil {
		return err
	}
	if _, more := theirs.With(mine); more {
		p.vouched = append(p.vouched, &pushItem{Item: it, statement: mine})
	}
	return nil
}

// describe reads what there is to say of the items, here or, for what is only known from there, in
// rpc-repo.
func (p *push) describe(ctx context.Context) error {
	return p.each(ctx, func(ctx context.Context, it *pushItem) (err error) {
		it.statement, err = p.store.Statement(it.Drv, it.Artifact)
		if errors.Is(err, store.ErrNotFound) {
			it.statement, err = p.statement(ctx, entry{hint: it.hint()})
		}
		if err != nil {
			return err
		}
		if it.manifest, err = p.findManifest(ctx, it.Artifact); err != nil {
			return err
		}
		it.derivation, err = p.store.Derivation(it.Drv)
		if errors.Is(err, store.ErrNotFound) {
			err = nil
		}
		return err
	})
}

// findManifest returns the manifest of an artifact, here or in rpc-repo.
func (p *push) findManifest(ctx context.Context, id store.ArtifactID) (*store.Manifest, error) {
	m, err := p.store.Manifest(id)
	if errors.Is(err, store.ErrNotFound) {
		return p.manifest(ctx, id)
	}
	return m, err
}

// each runs fn for every item, several at a time.
func (p *push) each(ctx context.Context, fn func(context.Context, *pushItem) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(p.Repo.opts.Jobs)
	for _, it := range p.items {
		g.Go(func() error {
			if err := fn(ctx, it); err != nil {
				return fmt.Errorf("%s: %w", it.Name, err)
			}
			return nil
		})
	}
	return g.Wait()
}

// check refuses, before anything is changed, what could not be published in the end.
func (p *push) check(ctx context.Context) error {
	published := make(map[string]string) // path -> what, to compare
	for _, it := range p.items {
		for _, pub := range it.manifest.Publish {
			if err := checkPublished(pub.Path); err != nil {
				return fmt.Errorf("%s: %w", it.Name, err)
			}
			what := pub.Link
			if e, ok := it.manifest.Lookup(pub.File); ok {
				what = e.Digest.String()
			}
			if other, ok := published[pub.Path]; ok && other != what {
				return fmt.Errorf("%s: published path %q: another artifact of the release publishes other content there", it.Name, pub.Path)
			}
			published[pub.Path] = what
			if pub.Sign != "" && p.Repo.opts.Signer == nil {
				return fmt.Errorf("%s: %s is to be signed, and there is no key: name a file with an OpenPGP private key in GPG_PRIVATE", it.Name, pub.Path)
			}
		}
		for _, l := range it.manifest.Lines {
			if err := checkPublished(l.File); err != nil {
				return fmt.Errorf("%s: %w", it.Name, err)
			}
		}
	}
	if p.opts.Replace {
		return nil
	}
	return p.each(ctx, func(ctx context.Context, it *pushItem) error {
		if err := p.checkConflict(ctx, p.held(), it); err != nil {
			return err
		}
		return p.checkPaths(ctx, it)
	})
}

// checkConflict refuses an item whose derivation gave another artifact in a generation.
func (p *push) checkConflict(ctx context.Context, known *snapshot, it *pushItem) error {
	for _, row := range known.of(it.Drv) {
		if row.artifact == it.Artifact {
			continue
		}
		first, err := p.statement(ctx, known.entry(row))
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		return &store.ConflictError{First: first.Realisation, Second: it.statement.Realisation}
	}
	return nil
}

// checkPaths refuses an item of which a consumer's path has other content.
func (p *push) checkPaths(ctx context.Context, it *pushItem) error {
	for _, pub := range it.manifest.Publish {
		e, ok := it.manifest.Lookup(pub.File)
		if !ok {
			continue // Symlink compares
		}
		state, err := p.compare(ctx, pub.Path, e.Blob())
		if err != nil {
			return err
		}
		if state == Wrong {
			return p.published(it, pub.Path)
		}
	}
	return nil
}

func (p *push) published(it *pushItem, path string) error {
	return &PublishedError{Repo: p.Repo.String(), Path: path, Item: it.Name}
}
