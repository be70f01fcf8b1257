package derive

import (
	"context"
	"fmt"

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

// find looks up the derivations of nodes whose inputs are known: in the store with one read of its
// index, then, for what it lacks, in each substituter with one request. What a substituter knows is
// written into the store, so that it need not be asked again.
func (e *Engine) find(ctx context.Context, nodes []*Node, artifact func(*Node) store.ArtifactID) ([]found, error) {
	all := make([]found, len(nodes))
	drvs := make([]store.DrvID, 0, len(nodes))
	for i, n := range nodes {
		drv, _, err := e.identify(n, artifact)
		if err != nil {
			return nil, err
		}
		all[i].drv = drv
		if n.fetch != nil {
			all[i].artifact = n.fetch.artifact
			all[i].local = e.Store.HasBlob(n.fetch.blob)
			continue
		}
		drvs = append(drvs, drv)
	}
	known, err := e.Store.Lookup(drvs)
	if err != nil {
		return nil, err
	}
	var ids []store.ArtifactID
	for _, list := range known {
		ids = append(ids, list...)
	}
	has, err := e.Store.HasAll(ids)
	if err != nil {
		return nil, err
	}
	for i := range all {
		all[i].choose(known[all[i].drv], has)
	}
	return all, e.findRemote(ctx, all)
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
	for _, sub := range e.Substituters {
		var missing []store.DrvID
		for _, f := range all {
			if !f.local && f.remote == nil && !f.drv.IsZero() {
				missing = append(missing, f.drv)
			}
		}
		if len(missing) == 0 {
			return nil
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
				if err := e.Store.AddRealisation(r); err != nil {
					return err
				}
			}
		}
	}
	return nil
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
