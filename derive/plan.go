package derive

import (
	"context"
	"fmt"
	"slices"

	"github.com/rcbops/rpcbuild/store"
)

// Action is what Realize would do about a node.
type Action string

// The actions.
const (
	Reuse    Action = "reuse" // the store has it, or its content is not needed
	FetchIt  Action = "fetch" // it comes from a substituter or from upstream
	BuildIt  Action = "build"
	NotAsked Action = "" // nothing that is missing needs it
)

// A Step is one node of a plan.
type Step struct {
	Node     *Node
	Drv      store.DrvID      // zero where an input's artifact is not known before it is built
	Artifact store.ArtifactID // zero where it is not known before it is built
	Action   Action
	// Because says why, down to the root cause.
	Because string
	// Size is the artifact's size in bytes, 0 where it is not known.
	Size int64
	// Others are further artifacts that the derivation is said to give: it is not reproducible.
	Others []store.ArtifactID
}

// Plan returns what Realize would do, a step a node, inputs first. It reads, and changes nothing
// but the store's knowledge of what substituters have.
func (e *Engine) Plan(ctx context.Context, g *Graph) ([]Step, error) {
	p := &planner{engine: e, found: make(map[*Node]found, len(g.Nodes)), causes: make(map[*Node]string)}
	if err := p.resolve(ctx, g); err != nil {
		return nil, err
	}
	actions := p.demand(g)
	steps := make([]Step, 0, len(g.Nodes))
	for _, n := range g.Nodes {
		steps = append(steps, p.step(n, actions[n]))
	}
	return steps, nil
}

type planner struct {
	engine *Engine
	found  map[*Node]found  // of nodes whose derivation is known
	causes map[*Node]string // of nodes whose artifact is not
}

// resolve looks up every node whose inputs' artifacts are known, in waves from the leaves, so that
// each wave is one question.
func (p *planner) resolve(ctx context.Context, g *Graph) error {
	left := g.Nodes
	for len(left) > 0 {
		var wave, later []*Node
		for _, n := range left {
			switch cause, ready := p.inputs(n); {
			case cause != "":
				p.causes[n] = cause
			case ready:
				wave = append(wave, n)
			default:
				later = append(later, n)
			}
		}
		found, err := p.engine.find(ctx, wave, func(n *Node) store.ArtifactID { return p.found[n].artifact })
		if err != nil {
			return err
		}
		for i, n := range wave {
			p.found[n] = found[i]
			if found[i].artifact.IsZero() {
				p.causes[n] = fmt.Sprintf("derivation %s of %s was never built", found[i].drv.Short(), n.Name)
			}
		}
		left = later
	}
	return nil
}

// inputs reports whether all inputs' artifacts are known, or why one will not be before a build.
func (p *planner) inputs(n *Node) (cause string, ready bool) {
	ready = true
	for _, name := range n.inputNames() {
		in := n.Inputs[name].Node
		if c := p.causes[in]; c != "" {
			return c, false
		}
		if _, ok := p.found[in]; !ok {
			ready = false
		}
	}
	return "", ready
}

// demand walks from the goals down to what is needed for them.
func (p *planner) demand(g *Graph) map[*Node]Action {
	actions := make(map[*Node]Action, len(g.Nodes))
	needed := make(map[*Node]bool, len(g.Nodes))
	for _, n := range g.Goals {
		needed[n] = true
	}
	for _, n := range slices.Backward(g.Nodes) {
		f := p.found[n]
		switch {
		case f.local:
			actions[n] = Reuse
		case !needed[n] && !f.artifact.IsZero():
			actions[n] = NotAsked
			if f.remote != nil || n.fetch == nil {
				actions[n] = Reuse
			}
		case f.remote != nil || n.fetch != nil:
			actions[n] = FetchIt
		default:
			actions[n] = BuildIt
			for _, in := range n.Inputs {
				needed[in.Node] = true
			}
		}
	}
	return actions
}

func (p *planner) step(n *Node, a Action) Step {
	f := p.found[n]
	s := Step{Node: n, Drv: f.drv, Artifact: f.artifact, Action: a, Others: f.others}
	switch {
	case n.fetch != nil:
		s.Size = n.fetch.blob.Size
	case !f.artifact.IsZero():
		if r, err := p.engine.Store.Realisation(f.drv, f.artifact); err == nil {
			s.Size = r.Size
		}
	}
	switch a {
	case Reuse:
		s.Because = "the store has it"
		if !f.local && f.remote != nil {
			s.Because = fmt.Sprintf("%s has it", f.remote)
		} else if !f.local {
			s.Because = "its artifact is known, and nothing needs its content"
		}
	case FetchIt:
		s.Because = "the store does not have it, upstream does"
		if f.remote != nil {
			s.Because = fmt.Sprintf("the store does not have it, %s does", f.remote)
		}
	case BuildIt:
		s.Because = p.causes[n]
		if s.Because == "" {
			s.Because = fmt.Sprintf("artifact %s is known, but nobody has it any more", f.artifact.Short())
		}
	}
	return s
}
