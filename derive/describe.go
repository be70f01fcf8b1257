package derive

import (
	"context"

	"github.com/rcbops/rpcbuild/store"
)

// Describe writes derivations of the graph into the store, whose files were lost: those that drvs
// names. It builds nothing.
func (e *Engine) Describe(ctx context.Context, g *Graph, drvs map[store.DrvID]bool) error {
	steps, err := e.Plan(ctx, g)
	if err != nil {
		return err
	}
	artifacts := make(map[*Node]store.ArtifactID, len(steps))
	for _, s := range steps {
		artifacts[s.Node] = s.Artifact
	}
	for _, s := range steps {
		if !drvs[s.Drv] {
			continue
		}
		_, encoded, err := e.identify(s.Node, func(n *Node) store.ArtifactID { return artifacts[n] })
		if err != nil {
			return err
		}
		if _, err := e.Store.PutDerivation(encoded); err != nil {
			return err
		}
	}
	return nil
}
