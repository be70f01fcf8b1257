package derive

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"

	"github.com/rcbops/rpcbuild/store"
)

// found is what is known of a node's derivation.
type found struct {
	drv      store.DrvID
	artifact store.ArtifactID // zero: nobody knows
	local    bool             // the store holds the artifact
	remote   Substituter      // who says that it has it, if the store does not
	others   []store.ArtifactID
}

// find looks up the derivations of nodes whose inputs are known: in the store's index, then, for
// what it lacks, in each substituter with one request. What a substituter knows is written into the
// store, for later runs without it.
func (e *Engine) find(ctx context.Context, nodes []*Node, artifact func(*Node) store.ArtifactID) ([]found, error) {
	all := make([]found, len(nodes))
	drvs := make([]store.DrvID, 0, len(nodes))
	var ids []store.ArtifactID
	for i, n := range nodes {
		drv, _, err := e.identify(n, artifact)
		if err != nil {
			return nil, err
		}
		all[i].drv = drv
		if n.fetch != nil {
			ids = append(ids, n.fetch.artifact)
			continue
		}
		drvs = append(drvs, drv)
	}
	known, err := e.Store.Lookup(drvs)
	if err != nil {
		return nil, err
	}
	for _, list := range known {
		ids = append(ids, list...)
	}
	has, err := e.Store.HasAll(ids)
	if err != nil {
		return nil, err
	}
	for i, n := range nodes {
		if n.fetch == nil {
			all[i].choose(known[all[i].drv], has)
			continue
		}
		all[i].artifact = n.fetch.artifact
		if all[i].local, err = e.hasFile(n.fetch, has[n.fetch.artifact]); err != nil {
			return nil, err
		}
	}
	return all, e.findRemote(ctx, all)
}

// hasFile reports whether the store has the file of a fetch, whose artifact it may not have yet: the
// content may be that of another artifact too, or come from a download that was interrupted.
func (e *Engine) hasFile(f *fetch, artifact bool) (bool, error) {
	if artifact || !e.Store.HasBlob(f.blob) {
		return artifact, nil
	}
	_, err := e.Store.PutManifest(f.manifest)
	return err == nil, err
}

// choose picks, of the artifacts that a derivation is known to give, one that is here, or else the
// first known.
func (f *found) choose(ids []store.ArtifactID, has map[store.ArtifactID]bool) {
	for _, id := range ids {
		if f.artifact.IsZero() || has[id] && !f.local {
			f.artifact, f.local = id, has[id]
		}
	}
	if len(ids) > 1 {
		f.others = ids
	}
}

func (e *Engine) findRemote(ctx context.Context, all []found) error {
	if e.Offline {
		return nil
	}
	var news []store.Statement
	for _, sub := range e.Substituters {
		var missing []store.DrvID
		for _, f := range all {
			if !f.local && f.remote == nil && !f.drv.IsZero() {
				missing = append(missing, f.drv)
			}
		}
		if len(missing) == 0 {
			break
		}
		known, err := sub.Lookup(ctx, missing)
		if err != nil {
			return fmt.Errorf("ask %s: %w", sub, err)
		}
		for i := range all {
			f := &all[i]
			for _, r := range known[f.drv] {
				if f.local || f.remote != nil || !f.artifact.IsZero() && f.artifact != r.Artifact {
					continue
				}
				f.artifact, f.remote = r.Artifact, sub
				news = append(news, r)
			}
		}
	}
	return e.learn(news)
}

// learn writes down what substituters know, side by side so that the index is written a few times
// and not once each.
func (e *Engine) learn(news []store.Statement) error {
	var g errgroup.Group
	g.SetLimit(downloads)
	for _, r := range news {
		g.Go(func() error { return e.Store.AddStatement(r) })
	}
	return g.Wait()
}

// identify returns the node's derivation and its id, once the artifacts of its inputs are known.
func (e *Engine) identify(n *Node, artifact func(*Node) store.ArtifactID) (store.DrvID, []byte, error) {
	k, err := e.kind(n)
	if err != nil {
		return store.DrvID{}, nil, err
	}
	d, err := n.derivation(k.Version, artifact)
	if err != nil {
		return store.DrvID{}, nil, err
	}
	b, err := d.Encode()
	if err != nil {
		return store.DrvID{}, nil, err
	}
	return store.HashDrv(b), b, nil
}
