package derive

import (
	"context"
	"errors"

	"github.com/rcbops/rpcbuild/store"
)

// run is one call of Realize. Its fields belong to the goroutine of loop.
type run struct {
	*Engine
	ctx      context.Context
	schedule *schedule
	results  chan result
	running  int
	slots    map[verb]int // free places
	waiting  []task       // for a place
	done     map[*Node]Realised
	errs     []error
}

func (r *run) loop() error {
	for {
		tasks := r.schedule.next()
		var lookups []*Node
		for _, t := range tasks {
			if t.verb == lookup {
				lookups = append(lookups, t.node)
			} else {
				r.waiting = append(r.waiting, t)
			}
		}
		if len(lookups) > 0 {
			r.lookup(lookups)
			continue
		}
		r.dispatch()
		if r.running == 0 {
			if r.ctx.Err() != nil {
				r.errs = append(r.errs, r.ctx.Err())
			}
			return errors.Join(r.errs...)
		}
		r.take(<-r.results)
	}
}

// settle says of what no task ended for what became of it: only its identity was needed, or
// something that it needs failed.
func (r *run) settle(g *Graph) {
	for _, n := range g.Nodes {
		st := r.schedule.states[n]
		_, done := r.done[n]
		switch {
		case done:
			continue
		case st.failed:
			r.done[n] = Realised{Drv: st.drv, Outcome: Skipped}
		case st.known && st.want == identity && n.fetch == nil:
			r.done[n] = Realised{Drv: st.drv, Artifact: st.artifact, Outcome: Reused}
		default:
			continue
		}
		r.emit(Event{Type: Done, Node: n, Drv: st.drv, Artifact: r.done[n].Artifact, Outcome: r.done[n].Outcome})
	}
}

// dispatch starts the waiting tasks for which there is a place.
func (r *run) dispatch() {
	r.schedule.urgentFirst(r.waiting)
	var left []task
	for _, t := range r.waiting {
		if r.ctx.Err() != nil || r.schedule.stop || r.slots[t.verb] == 0 {
			left = append(left, t)
			continue
		}
		r.slots[t.verb]--
		r.running++
		state := *r.schedule.states[t.node]
		artifacts := r.inputArtifacts(t.node)
		go func() {
			if t.verb == build {
				r.results <- r.build(r.ctx, t, state, artifacts)
			} else {
				r.results <- r.obtain(r.ctx, t, state)
			}
		}()
	}
	r.waiting = left
}

func (r *run) inputArtifacts(n *Node) map[string]store.ArtifactID {
	ids := make(map[string]store.ArtifactID, len(n.Inputs))
	for name, in := range n.Inputs {
		ids[name] = r.schedule.states[in.Node].artifact
	}
	return ids
}

// take records a finished task.
func (r *run) take(res result) {
	r.running--
	r.slots[res.verb]++
	if res.err != nil {
		r.done[res.node] = Realised{Drv: res.drv, Outcome: Failed}
		if r.ctx.Err() == nil {
			r.errs = append(r.errs, res.err)
		}
		r.schedule.stop = r.schedule.stop || !r.KeepGoing
	} else if !res.artifact.IsZero() {
		r.done[res.node] = Realised{Drv: res.drv, Artifact: res.artifact, Outcome: res.outcome}
	}
	r.schedule.finish(res)
}

// lookup finds out which artifacts derivations give, asking for all of them at once.
func (r *run) lookup(nodes []*Node) {
	found, err := r.find(r.ctx, nodes, func(n *Node) store.ArtifactID { return r.schedule.states[n].artifact })
	for i, n := range nodes {
		res := result{task: task{lookup, n}, err: err}
		if err == nil {
			res.drv, res.artifact, res.here, res.remote = found[i].drv, found[i].artifact, found[i].local, found[i].remote
		}
		if res.here && n.fetch == nil {
			r.done[n] = Realised{Drv: res.drv, Artifact: res.artifact, Outcome: Reused}
			r.emit(Event{Type: Done, Node: n, Drv: res.drv, Artifact: res.artifact, Outcome: Reused})
		}
		r.schedule.finish(res)
	}
	if err != nil {
		r.errs = append(r.errs, err)
		r.schedule.stop = true
	}
}
