package derive

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"

	"github.com/rcbops/rpcbuild/derive/download"
	"github.com/rcbops/rpcbuild/store"
)

// downloads is how many fetches and substitutions run side by side: round trips, not bandwidth,
// are what they wait for.
const downloads = 12

// An Engine realizes graphs. Its fields are set before its first use; then it is safe for
// concurrent use, and any number of engines, in any number of processes, may share a store.
type Engine struct {
	Store *store.Store
	// Substituters are asked, in order, for what the store lacks.
	Substituters []Substituter
	Kinds        []Kind
	Client       *download.Client
	// Jobs is how many builds run side by side; 0 means one a processor.
	Jobs int
	// Offline forbids fetching and substituting.
	Offline bool
	// KeepGoing builds what can be built after a failure. Otherwise what runs is finished.
	KeepGoing bool
	// KeepFailed leaves the folder of a failed build, which the error then names.
	KeepFailed bool
	// Tool is rpcbuild's version and Builder the name of this machine, for realisations.
	Tool, Builder string
	// Events, if set, is told what happens, by one goroutine at a time.
	Events func(Event)

	events sync.Mutex
}

// EventType tells what an event says.
type EventType int

// The events of a node come in this order: Start, any number of Wait and Progress, then Done or
// Fail, once. What is only looked up, or skipped, has just a Done; a fetch whose file the store has,
// or nobody needs, has none.
const (
	Start    EventType = iota
	Wait               // Holder builds the derivation already
	Progress           // Done of Total bytes came
	Done
	Fail
)

// Outcome tells how a node got its artifact.
type Outcome string

// The outcomes.
const (
	Built   Outcome = "built"   // its builder ran
	Fetched Outcome = "fetched" // it came from an upstream
	Reused  Outcome = "reused"  // the store or rpc-repo had it
	Failed  Outcome = "failed"
	Skipped Outcome = "skipped" // something that it needs failed
)

// An Event is something that happened to a node.
type Event struct {
	Type     EventType
	Node     *Node
	Drv      store.DrvID
	Artifact store.ArtifactID
	Outcome  Outcome // of Done and Fail; of Start, what is tried
	Seconds  float64
	Bytes    int64 // that came over the network, of Done
	Done     int64
	Total    int64
	Holder   store.Holder
	Err      error
	Log      string // path of a failed build's log
}

// Realised is what became of a node.
type Realised struct {
	Drv      store.DrvID
	Artifact store.ArtifactID
	Outcome  Outcome
}

// A Result says what became of every node that mattered.
type Result struct {
	Nodes map[*Node]Realised
}

// A BuildError is a build that failed.
type BuildError struct {
	Node *Node
	Drv  store.DrvID
	Log  string // path of the log; empty if the build did not start
	Kept string // the build's folder, where that was asked for
	Err  error
}

func (e *BuildError) Error() string {
	s := fmt.Sprintf("build %s (derivation %s): %v", e.Node.Name, e.Drv.Short(), e.Err)
	if e.Kept != "" {
		s += "\nits folder is kept: " + e.Kept
	}
	return s
}

func (e *BuildError) Unwrap() error { return e.Err }

// Realize brings the artifacts of the graph's goals into the store: from there, from a substituter,
// or by building. The error joins one [*BuildError] or fetch error for each node that failed by
// itself. The result is not nil, and says what was reached, also beside an error.
func (e *Engine) Realize(ctx context.Context, g *Graph) (*Result, error) {
	r := &run{
		Engine: e, ctx: ctx, schedule: newSchedule(g), results: make(chan result),
		done: make(map[*Node]Realised), slots: map[verb]int{build: e.Jobs, obtain: downloads},
	}
	if r.slots[build] <= 0 {
		r.slots[build] = runtime.GOMAXPROCS(0)
	}
	err := r.loop()
	r.settle(g)
	return &Result{Nodes: r.done}, err
}

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

func (e *Engine) emit(ev Event) {
	if e.Events == nil {
		return
	}
	e.events.Lock()
	defer e.events.Unlock()
	e.Events(ev)
}

// kind returns the builder of a node.
func (e *Engine) kind(n *Node) (Kind, error) {
	if n.Kind == FetchKind {
		return Kind{Name: FetchKind, Version: "1"}, nil
	}
	for _, k := range e.Kinds {
		if k.Name == n.Kind {
			return k, nil
		}
	}
	return Kind{}, fmt.Errorf("derive %s: no builder is known for kind %q", n.Name, n.Kind)
}
