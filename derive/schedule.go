package derive

import (
	"cmp"
	"slices"

	"github.com/rcbops/rpcbuild/store"
)

// A schedule decides what is done next. It does nothing itself: [schedule.next] gives tasks,
// [schedule.finish] takes their results, in any order. It is used by one goroutine.
//
// It works on demand. A goal's content is wanted; to know which artifact that is, its inputs'
// identities are wanted, but not their content; content of inputs is wanted only for a build. So
// whatever lies below something that exists is never fetched, and never built.
type schedule struct {
	states map[*Node]*state
	ready  []task
	stop   bool // give no new tasks
}

// want is how much of a node somebody needs.
type want int

const (
	nothing want = iota
	identity
	content
)

type state struct {
	want   want
	busy   bool // a task is under way
	known  bool // artifact is set
	here   bool // the store holds the artifact
	must   bool // nobody has it: it is to be built
	failed bool // its build failed, or one that it needs did
	height int  // derivations on the longest way to a goal

	drv      store.DrvID
	artifact store.ArtifactID
	remote   Substituter // says that it has the artifact
	users    []*Node
}

// A verb is what a task does.
type verb int

const (
	lookup verb = iota // find out which artifact the node's derivation gives
	obtain             // bring the artifact into the store
	build              // build it
)

type task struct {
	verb verb
	node *Node
}

// A result is how a task ended.
type result struct {
	task
	drv      store.DrvID
	artifact store.ArtifactID // zero after a lookup or an obtain: nobody has it
	here     bool             // the store holds the artifact
	remote   Substituter      // of a lookup: who else has it
	outcome  Outcome
	err      error
}

func newSchedule(g *Graph) *schedule {
	s := &schedule{states: make(map[*Node]*state, len(g.Nodes))}
	for _, n := range g.Nodes {
		s.states[n] = &state{}
		for _, in := range n.inputNames() {
			user := s.states[n.Inputs[in].Node]
			user.users = append(user.users, n)
		}
	}
	for _, n := range slices.Backward(g.Nodes) {
		for _, in := range n.Inputs {
			s.states[in.Node].height = max(s.states[in.Node].height, s.states[n].height+1)
		}
	}
	for _, n := range g.Goals {
		s.demand(n, content)
	}
	return s
}

// next returns the tasks that became possible since the last call, those with the longest way to
// a goal first.
func (s *schedule) next() []task {
	if s.stop {
		return nil
	}
	tasks := s.ready
	s.ready = nil
	s.urgentFirst(tasks)
	return tasks
}

// urgentFirst sorts tasks by how much waits for them: those with the longest way to a goal first.
func (s *schedule) urgentFirst(tasks []task) {
	slices.SortStableFunc(tasks, func(a, b task) int {
		return cmp.Compare(s.states[b.node].height, s.states[a.node].height)
	})
}

// finish takes the result of a task that next gave.
func (s *schedule) finish(r result) {
	st := s.states[r.node]
	st.busy = false
	switch {
	case r.err != nil:
		st.failed = true
	case r.artifact.IsZero():
		st.drv, st.must = r.drv, true
	default:
		st.drv, st.artifact, st.remote, st.known, st.here = r.drv, r.artifact, r.remote, true, r.here
	}
	s.advance(r.node)
	for _, u := range st.users {
		s.advance(u)
	}
}

func (s *schedule) demand(n *Node, w want) {
	st := s.states[n]
	if w > st.want {
		st.want = w
		s.advance(n)
	}
}

// advance makes the node's next task ready, or demands what is missing for it.
func (s *schedule) advance(n *Node) {
	st := s.states[n]
	switch {
	case st.want == nothing, st.busy, st.failed, st.here:
	case st.known && st.want == identity:
	case st.known && !st.must:
		s.start(obtain, n)
	case st.must:
		if s.inputs(n, content) {
			s.start(build, n)
		}
	case s.inputs(n, identity):
		s.start(lookup, n)
	}
}

func (s *schedule) start(v verb, n *Node) {
	s.states[n].busy = true
	s.ready = append(s.ready, task{v, n})
}

// inputs demands the node's inputs and reports whether all are there already. An input that failed
// fails the node.
func (s *schedule) inputs(n *Node, w want) bool {
	all := true
	for _, name := range n.inputNames() {
		in := n.Inputs[name].Node
		s.demand(in, w)
		st := s.states[in]
		if st.failed {
			s.fail(n)
			return false
		}
		if !st.known || w == content && !st.here {
			all = false
		}
	}
	return all
}

// fail marks a node that cannot be had because an input cannot, and what waits for it.
func (s *schedule) fail(n *Node) {
	st := s.states[n]
	if st.failed {
		return
	}
	st.failed = true
	for _, u := range st.users {
		s.advance(u)
	}
}
