package cache

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/rcbops/rpcbuild/store"
)

// PullStats say what a pull did.
type PullStats struct {
	Artifacts int   // that came over, in whole or in part
	Present   int   // that the store held already
	Bytes     int64 // that came over
}

// Pull brings the artifacts of a release into st, with their derivations and statements. Each is
// verified, and counts only when it is whole; what came before an error stays, and a second Pull
// carries on from there. progress, if not nil, is called with the number of bytes that came over,
// by several goroutines at a time.
func (r *Repo) Pull(ctx context.Context, st *store.Store, rel Release, progress func(int64)) (PullStats, error) {
	ids, drvs := make([]store.ArtifactID, len(rel.Items)), make([]store.DrvID, len(rel.Items))
	for i, it := range rel.Items {
		ids[i], drvs[i] = it.Artifact, it.Drv
	}
	has, err := st.HasAll(ids)
	if err != nil {
		return PullStats{}, err
	}
	known, err := st.Lookup(drvs)
	if err != nil {
		return PullStats{}, err
	}
	var artifacts, present int
	var bytes atomic.Int64
	tell := func(n int64) {
		if total := bytes.Add(n); progress != nil {
			progress(total)
		}
	}
	if err := r.readBundles(ctx, rel.Items); err != nil {
		return PullStats{}, err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(r.opts.Jobs)
	for _, it := range rel.Items {
		content := !has[it.Artifact]
		if content {
			has[it.Artifact] = true // once, if two derivations gave it
			artifacts++
		} else {
			present++
		}
		g.Go(func() error {
			err := r.pullItem(ctx, st, it, content, tell)
			if err == nil && !slices.Contains(known[it.Drv], it.Artifact) {
				err = r.pullStatement(ctx, st, it)
			}
			if err != nil {
				return fmt.Errorf("pull %s: %w", it.Name, err)
			}
			return nil
		})
	}
	err = g.Wait()
	return PullStats{Artifacts: artifacts, Present: present, Bytes: bytes.Load()}, err
}

// readBundles reads the bundles that speak of the items: a few requests that save one for each small
// file. What is pulled need not be in the newest generation, which may be of a moment before.
func (r *Repo) readBundles(ctx context.Context, items []Item) error {
	known, err := r.newest(ctx)
	if err != nil {
		return err
	}
	asked := make(map[bundleRef]bool)
	for _, it := range items {
		ref := known.find(it.hint()).metadata
		if ref == (bundleRef{}) || asked[ref] {
			continue
		}
		asked[ref] = true
		if _, err := r.bundle(ctx, ref, false); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

func (r *Repo) pullItem(ctx context.Context, st *store.Store, it Item, content bool, tell func(int64)) error {
	if content {
		if err := r.fetch(ctx, it.Artifact, st, tell); err != nil {
			return err
		}
	}
	if _, err := st.Derivation(it.Drv); errors.Is(err, store.ErrNotFound) {
		b, err := r.derivation(ctx, it.hint())
		if err != nil {
			return err
		}
		if b != nil {
			if _, err := st.PutDerivation(b); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *Repo) pullStatement(ctx context.Context, st *store.Store, it Item) error {
	s, err := r.statement(ctx, r.held().find(it.hint()))
	if err != nil {
		return err
	}
	return st.AddStatement(s)
}
