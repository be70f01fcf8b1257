package derive

import (
	"context"
	"fmt"
	"runtime"
	"sync"

	"github.com/rcbops/rpcbuild/derive/download"
	"github.com/rcbops/rpcbuild/store"
	"github.com/rcbops/rpcbuild/store/signature"
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
	// Tool is what builds here, see [Tool], and Builder the name of this machine, for realisations; Key,
	// if set, signs them.
	Tool, Builder string
	Key           *signature.Key
	// Events, if set, is told what happens, by one goroutine at a time.
	Events func(Event)

	events sync.Mutex
}

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
