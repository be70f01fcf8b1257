package derive

import (
	"cmp"
	"slices"
	"strings"
	"testing"

	"github.com/rcbops/rpcbuild/store"
)

// A world answers a schedule's tasks, without a store or a builder. What a derivation gives is known
// by a card, such as "top(leaf=1)": a node, and which artifact each of its inputs is.
type world struct {
	local  map[string]string // card -> artifact that is here
	remote map[string]string // card -> artifact that a substituter says it has
	lost   map[string]bool   // nodes whose content nobody has, whatever is said
	gives  map[string]string // node -> what building it gives, if it is not its name
	fails  map[string]bool   // nodes whose build fails
}

// drive runs a schedule to its end and returns its tasks in order, those of one step together.
func (w *world) drive(t *testing.T, g *Graph) (*schedule, string) {
	t.Helper()
	s := newSchedule(g)
	labels := make(map[store.ArtifactID]string)
	artifact := func(label string) store.ArtifactID {
		id := store.HashArtifact([]byte(label))
		labels[id] = label
		return id
	}
	card := func(n *Node) string {
		var ins []string
		for _, name := range n.inputNames() {
			ins = append(ins, name+"="+labels[s.states[n.Inputs[name].Node].artifact])
		}
		if len(ins) == 0 {
			return n.Name
		}
		return n.Name + "(" + strings.Join(ins, ",") + ")"
	}
	var steps []string
	for range 100 {
		tasks := s.next()
		if len(tasks) == 0 {
			return s, strings.Join(steps, " | ")
		}
		var said []string
		for _, task := range tasks {
			r := result{task: task}
			c := card(task.node)
			switch task.verb {
			case lookup:
				if label, ok := w.local[c]; ok {
					r.artifact, r.here = artifact(label), true
				} else if label, ok := w.remote[c]; ok {
					r.artifact = artifact(label)
				}
			case obtain:
				if !w.lost[task.node.Name] {
					r.artifact, r.here = s.states[task.node].artifact, true
				}
			case build:
				for _, in := range task.node.Inputs {
					if !s.states[in.Node].here {
						t.Errorf("%s is built without %s", task.node.Name, in.Node.Name)
					}
				}
				r.artifact, r.here = artifact(cmp.Or(w.gives[task.node.Name], task.node.Name)), true
				if w.fails[task.node.Name] {
					r.err = errStub
				}
			}
			said = append(said, [...]string{"lookup", "obtain", "build"}[task.verb]+" "+task.node.Name)
			s.finish(r)
		}
		steps = append(steps, strings.Join(said, ", "))
	}
	t.Fatal("the schedule does not end")
	return nil, ""
}

var errStub = &BuildError{Node: &Node{}}

// nodes makes nodes from lines such as "top: left right": a node and its inputs, which come before.
func nodes(lines ...string) map[string]*Node {
	all := make(map[string]*Node)
	for _, l := range lines {
		name, inputs, _ := strings.Cut(l, ":")
		n := &Node{Name: name, Inputs: make(map[string]Input)}
		for _, in := range strings.Fields(inputs) {
			n.Inputs[in] = Input{Node: all[in]}
		}
		all[name] = n
	}
	return all
}

func TestSchedule(t *testing.T) {
	chain := []string{"f:", "leaf: f", "top: leaf"}
	diamond := []string{"leaf:", "left: leaf", "right: leaf", "top: left right"}
	for name, c := range map[string]struct {
		nodes  []string
		goals  string
		world  world
		want   string
		failed string // nodes
	}{
		"chain, nothing known": {
			chain, "top", world{remote: map[string]string{"f": "f"}},
			"lookup f | lookup leaf | obtain f | build leaf | lookup top | build top", "",
		},
		"chain, all here": {
			chain, "top", world{local: map[string]string{"f": "f", "leaf(f=f)": "leaf", "top(leaf=leaf)": "top"}},
			"lookup f | lookup leaf | lookup top", "",
		},
		"chain, all elsewhere: only the goal's content comes": {
			chain, "top", world{remote: map[string]string{"f": "f", "leaf(f=f)": "leaf", "top(leaf=leaf)": "top"}},
			"lookup f | lookup leaf | lookup top | obtain top", "",
		},
		"chain, the goal is new: of its inputs the content comes, of theirs not": {
			chain, "top", world{remote: map[string]string{"f": "f", "leaf(f=f)": "leaf"}},
			"lookup f | lookup leaf | lookup top | obtain leaf | build top", "",
		},
		"chain, the leaf is promised and lost": {
			chain, "top", world{remote: map[string]string{"f": "f", "leaf(f=f)": "leaf"}, lost: map[string]bool{"leaf": true}},
			"lookup f | lookup leaf | lookup top | obtain leaf | obtain f | build leaf | build top", "",
		},
		"diamond, nothing known": {
			diamond, "top", world{},
			"lookup leaf | build leaf | lookup left, lookup right | build left, build right | lookup top | build top", "",
		},
		"diamond, one side known": {
			diamond, "top", world{local: map[string]string{"leaf": "leaf", "left(leaf=leaf)": "left"}},
			"lookup leaf | lookup left, lookup right | build right | lookup top | build top", "",
		},
		"cut-off: the leaf is built anew, and comes out the same": {
			diamond, "top", world{
				gives: map[string]string{"leaf": "same"},
				local: map[string]string{"left(leaf=same)": "left", "right(leaf=same)": "right", "top(left=left,right=right)": "top"},
			},
			"lookup leaf | build leaf | lookup left, lookup right | lookup top", "",
		},
		"no cut-off: the leaf comes out otherwise": {
			diamond, "top", world{
				gives: map[string]string{"leaf": "other"},
				local: map[string]string{"left(leaf=same)": "left", "right(leaf=same)": "right", "top(left=left,right=right)": "top"},
			},
			"lookup leaf | build leaf | lookup left, lookup right | build left, build right | lookup top", "",
		},
		"failure: users are skipped, the independent branch goes on": {
			[]string{"bad:", "ok:", "user: bad", "user2: user ok"}, "user2 ok",
			world{fails: map[string]bool{"bad": true}},
			"lookup bad, lookup ok | build bad, build ok", "bad user user2",
		},
		"failure of one of two inputs": {
			[]string{"bad:", "ok:", "user: bad ok"}, "user",
			world{fails: map[string]bool{"bad": true}},
			"lookup bad, lookup ok | build bad, build ok", "bad user",
		},
		"a node that is goal and input": {
			[]string{"leaf:", "top: leaf"}, "leaf top", world{remote: map[string]string{"leaf": "leaf", "top(leaf=leaf)": "top"}},
			"lookup leaf | obtain leaf, lookup top | obtain top", "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			all := nodes(c.nodes...)
			var goals []*Node
			for _, name := range strings.Fields(c.goals) {
				goals = append(goals, all[name])
			}
			g := graph(t, goals...)
			s, got := c.world.drive(t, g)
			if got != c.want {
				t.Errorf("tasks\ngot  %s\nwant %s", got, c.want)
			}
			var failed []string
			for _, n := range g.Nodes {
				if s.states[n].failed {
					failed = append(failed, n.Name)
				}
			}
			slices.Sort(failed)
			if got := strings.Join(failed, " "); got != c.failed {
				t.Errorf("failed: %q, want %q", got, c.failed)
			}
		})
	}
}

func TestScheduleLongestWayFirst(t *testing.T) {
	all := nodes("short:", "long:", "middle: long", "top: middle short")
	_, got := (&world{}).drive(t, graph(t, all["short"], all["top"]))
	if want := "lookup long, lookup short | build long, build short | "; !strings.HasPrefix(got, want) {
		t.Errorf("got %s", got)
	}
}

func TestScheduleStops(t *testing.T) {
	s := newSchedule(graph(t, nodes("a:")["a"]))
	s.stop = true
	if tasks := s.next(); len(tasks) != 0 {
		t.Errorf("got %v", tasks)
	}
}
