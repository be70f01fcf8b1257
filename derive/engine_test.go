package derive

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rcbops/rpcbuild/derive/sandbox"
	"github.com/rcbops/rpcbuild/store"
)

func TestRealize(t *testing.T) {
	b := newBench(t)
	f := b.file("f", "from upstream")
	leaf := b.node("leaf", testParams{}, f)
	left, right := b.node("left", testParams{}, leaf), b.node("right", testParams{}, leaf)
	top := b.node("top", testParams{}, left, right)

	got := b.realize(top)
	b.want("built", b.built(), "leaf left right top")
	b.want("outcomes", outcomes(got), "f:fetched leaf:built left:built right:built top:built")
	b.want("content", b.content(got["top"].Artifact), "top(left(leaf(from upstream)))(right(leaf(from upstream)))")
	b.checkEvents()

	again := b.realize(top)
	b.want("built again", b.built(), "")
	b.want("outcomes again", outcomes(again), "leaf:reused left:reused right:reused top:reused")
	if again["top"].Artifact != got["top"].Artifact {
		t.Error("another artifact")
	}
	b.checkEvents()

	log, err := b.Store.OpenLog(got["leaf"].Drv)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	if text, err := os.ReadFile(log.Name()); err != nil || string(text) != "this is the log of leaf\n" {
		t.Errorf("log: %q, %v", text, err)
	}
	encoded, err := b.Store.Derivation(got["leaf"].Drv)
	if err != nil {
		t.Fatal(err)
	}
	if d, err := DecodeDerivation(encoded); err != nil || d.Inputs["f"] != got["f"].Artifact {
		t.Errorf("derivation %v, %v", d, err)
	}
	b.checkNothingLeft()
}

// checkEvents checks the order of each node's events.
func (b *bench) checkEvents() {
	b.t.Helper()
	ended := make(map[*Node]bool)
	started := make(map[*Node]bool)
	for _, ev := range b.events {
		switch {
		case ended[ev.Node]:
			b.t.Errorf("%s: event %d after its end", ev.Node.Name, ev.Type)
		case ev.Type == Start:
			started[ev.Node] = true
		case ev.Type == Done || ev.Type == Fail:
			ended[ev.Node] = true
		case !started[ev.Node]:
			b.t.Errorf("%s: event %d before its start", ev.Node.Name, ev.Type)
		}
	}
	for n := range started {
		if !ended[n] {
			b.t.Errorf("%s started and did not end", n.Name)
		}
	}
}

// checkNothingLeft looks for what builds leave behind.
func (b *bench) checkNothingLeft() {
	b.t.Helper()
	for _, pattern := range []string{"tmp/*/*", "lock/*", "partial/*", "kept-*"} {
		if left, _ := filepath.Glob(filepath.Join(b.Store.Dir(), pattern)); len(left) > 0 {
			b.t.Errorf("left: %v", left)
		}
	}
}

func TestCutOff(t *testing.T) {
	b := newBench(t)
	top := func(leaf testParams) *Node {
		return b.node("top", testParams{}, b.node("middle", testParams{}, b.node("leaf", leaf)))
	}
	before := b.realize(top(testParams{}))
	b.built()
	after := b.realize(top(testParams{Comment: "changes nothing"}))
	b.want("built", b.built(), "leaf")
	b.want("outcomes", outcomes(after), "leaf:built middle:reused top:reused")
	if before["leaf"].Drv == after["leaf"].Drv || before["leaf"].Artifact != after["leaf"].Artifact {
		t.Error("the leaf did not move as it should")
	}
	b.realize(top(testParams{Text: "another"}))
	b.want("built", b.built(), "leaf middle top")
}

// TestSourceIsNoIdentity moves upstreams.
func TestSourceIsNoIdentity(t *testing.T) {
	b := newBench(t)
	top := func() *Node { return b.node("top", testParams{}, b.file("f", "content")) } // each at its own URL
	b.realize(top())
	b.built()
	b.notes += "2"
	b.want("outcomes", outcomes(b.realize(top())), "top:reused")
}

// otherStore is a substituter: somebody else's store.
type otherStore struct {
	*store.Store
	lost    bool // it promises more than it has
	mu      sync.Mutex
	fetched []store.ArtifactID
}

func (o *otherStore) String() string { return "the other store" }

func (o *otherStore) Lookup(_ context.Context, drvs []store.DrvID) (map[store.DrvID][]store.Statement, error) {
	known, err := o.Store.Lookup(drvs)
	found := make(map[store.DrvID][]store.Statement)
	for drv, ids := range known {
		for _, id := range ids {
			r, err := o.Store.Statement(drv, id)
			if err != nil {
				return nil, err
			}
			found[drv] = append(found[drv], r)
		}
	}
	return found, err
}

func (o *otherStore) Fetch(ctx context.Context, id store.ArtifactID, st *store.Store, progress func(int64)) (int64, error) {
	if o.lost {
		return 0, fmt.Errorf("artifact %s: %w", id, store.ErrNotFound)
	}
	m, err := o.Manifest(id)
	if err != nil {
		return 0, err
	}
	for _, e := range m.Entries {
		f, err := o.OpenBlob(e.Blob())
		if err != nil {
			return 0, err
		}
		err = st.PutBlob(ctx, f, e.Blob())
		f.Close()
		if err != nil {
			return 0, err
		}
	}
	progress(m.Size())
	o.mu.Lock()
	o.fetched = append(o.fetched, id)
	o.mu.Unlock()
	_, err = st.PutManifest(m)
	return m.Size(), err
}

func TestSubstituter(t *testing.T) {
	a := newBench(t)
	graphOf := func(b *bench) *Node {
		return b.node("top", testParams{}, b.node("middle", testParams{}, b.file("f", "content")))
	}
	there := a.realize(graphOf(a))

	b := newBench(t)
	other := &otherStore{Store: a.Store}
	b.Substituters = []Substituter{other}
	got := b.realize(graphOf(b))
	b.want("built", b.built(), "")
	b.want("outcomes", outcomes(got), "middle:reused top:reused")
	if len(other.fetched) != 1 || other.fetched[0] != there["top"].Artifact {
		t.Errorf("came over: %v, want only the goal", other.fetched)
	}
	if has, err := b.Store.Has(there["middle"].Artifact); has || err != nil {
		t.Errorf("middle came over: %v, %v", has, err)
	}
	b.checkEvents()
	// What is needed for something new comes over, and no more than that.
	b.realize(b.node("new", testParams{}, graphOf(b).Inputs["middle"].Node))
	b.want("built for something new", b.built(), "new")
	if len(other.fetched) != 2 || other.fetched[1] != there["middle"].Artifact {
		t.Errorf("came over: %v", other.fetched)
	}

	c := newBench(t)
	c.Substituters = []Substituter{&otherStore{Store: a.Store, lost: true}}
	got = c.realize(graphOf(c))
	c.want("built without what was promised", c.built(), "middle top")
	c.want("outcomes", outcomes(got), "f:fetched middle:built top:built")
	c.checkEvents()
}

// TestConcurrentEngines realizes overlapping graphs with engines that share nothing but the folder.
func TestConcurrentEngines(t *testing.T) {
	first := newBench(t)
	var wg sync.WaitGroup
	for i := range 4 {
		s, err := store.Open(first.Store.Dir())
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		b := benchOn(t, s, first.notes)
		leaf := b.node("leaf", testParams{}, b.file("f", "content"))
		goals := []*Node{b.node("top", testParams{}, leaf, b.node("side", testParams{})), b.node(fmt.Sprint("own", i), testParams{}, leaf)}
		g := graph(t, goals...)
		wg.Go(func() {
			if _, err := b.Realize(context.Background(), g); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	first.want("built", first.built(), "leaf own0 own1 own2 own3 side top")
	if left, _ := filepath.Glob(filepath.Join(first.Store.Dir(), "lock/*")); len(left) > 0 {
		t.Errorf("locks are left: %v", left)
	}
}

func TestConflict(t *testing.T) {
	a, b := newBench(t), newBench(t)
	there := a.realize(a.node("dice", testParams{Do: "random"}))["dice"]
	r, err := a.Store.Statement(there.Drv, there.Artifact)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Store.AddStatement(r); err != nil { // its content is lost
		t.Fatal(err)
	}
	dice := b.node("dice", testParams{Do: "random"})
	got, err := b.try(context.Background(), b.node("user", testParams{}, dice))
	var conflict *store.ConflictError
	if !errors.As(err, &conflict) || conflict.First.Artifact != there.Artifact || conflict.Second.Artifact == there.Artifact {
		t.Fatalf("got %v", err)
	}
	b.want("outcomes", outcomes(got), "dice:failed user:skipped")
	steps, err := b.Plan(context.Background(), graph(t, dice))
	if err != nil || len(steps) != 1 || len(steps[0].Others) != 2 {
		t.Errorf("plan %+v, %v, want both artifacts", steps, err)
	}
}

func TestFailure(t *testing.T) {
	b := newBench(t)
	b.Jobs = 1
	bad := b.node("bad", testParams{Do: "fail"})
	goals := []*Node{
		b.node("user1", testParams{}, bad), b.node("user2", testParams{}, bad, b.node("leaf", testParams{})),
		b.node("independent", testParams{}),
	}
	b.KeepGoing = true
	got, err := b.try(context.Background(), goals...)
	b.want("outcomes", outcomes(got), "bad:failed independent:built leaf:built user1:skipped user2:skipped")
	var failed *BuildError
	if !errors.As(err, &failed) || failed.Node != bad || failed.Kept != "" {
		t.Fatalf("got %v", err)
	}
	want := fmt.Sprintf("build bad (derivation %s): the compiler ran out of patience", got["bad"].Drv.Short())
	b.want("error", err.Error(), want)
	if log, err := os.ReadFile(failed.Log); err != nil || strings.Count(string(log), "this is the log of bad") != 1 {
		t.Errorf("log: %q, %v", log, err)
	}
	b.checkEvents()
	b.checkNothingLeft()

	b.built()
	if _, err := b.try(context.Background(), bad); err == nil {
		t.Error("a failure became a result")
	}
	b.want("tried again", b.built(), "bad")
}

func TestFailureStopsTheRest(t *testing.T) {
	b := newBench(t)
	b.Jobs = 1
	slow := b.node("a", testParams{Do: "fail"})
	var goals []*Node
	for i := range 5 {
		goals = append(goals, b.node(fmt.Sprint("other", i), testParams{}))
	}
	// The longest way to a goal is gone first.
	got, err := b.try(context.Background(), append(goals, b.node("user", testParams{}, slow))...)
	if err == nil || got["user"].Outcome != Skipped {
		t.Errorf("got %v, %v", got, err)
	}
	b.want("built", b.built(), "a")
}

func TestKeepFailed(t *testing.T) {
	b := newBench(t)
	b.KeepFailed = true
	_, err := b.try(context.Background(), b.node("bad", testParams{Do: "fail"}, b.node("leaf", testParams{})))
	var failed *BuildError
	if !errors.As(err, &failed) || !strings.Contains(err.Error(), failed.Kept) {
		t.Fatalf("got %v", err)
	}
	if content, err := os.ReadFile(filepath.Join(failed.Kept, "inputs/leaf/out")); err != nil || string(content) != "leaf" {
		t.Errorf("input in the folder that was kept: %q, %v", content, err)
	}
}

func TestBuildProcessThatDies(t *testing.T) {
	b := newBench(t)
	_, err := b.try(context.Background(), b.node("bad", testParams{Do: "exit"}))
	if err == nil || !strings.HasSuffix(err.Error(), "the build process left no result: exit status 3") {
		t.Errorf("got %v", err)
	}
	b.checkNothingLeft()
}

func TestCancel(t *testing.T) {
	b := newBench(t)
	ctx, cancel := context.WithCancel(context.Background())
	pids := make(chan int, 1)
	go func() {
		defer cancel()
		pids <- b.waitForSleeper()
	}()
	got, err := b.try(ctx, b.node("user", testParams{}, b.node("sleeper", testParams{Do: "sleep"})))
	if !errors.Is(err, context.Canceled) || strings.Count(err.Error(), "canceled") != 1 {
		t.Errorf("got %v", err)
	}
	b.want("outcomes", outcomes(got), "sleeper:failed user:skipped")
	pid := <-pids
	if pid == 0 {
		t.Fatal("the build did not start")
	}
	if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("process %d lives: %v", pid, err)
	}
	b.checkEvents()
	b.checkNothingLeft()
}

// realizeSleeper is a process that [TestKilledEngine] kills.
func realizeSleeper(dir, notes string) {
	s, err := store.Open(dir)
	if err != nil {
		panic(err)
	}
	b := benchOn(nil, s, notes)
	g, err := NewGraph(b.node("sleeper", testParams{Do: "sleep"}))
	if err != nil {
		panic(err)
	}
	_, err = b.Realize(context.Background(), g)
	panic(err)
}

// TestKilledEngine kills the process that realizes, without a warning: its build dies with it, and
// the next one takes over.
func TestKilledEngine(t *testing.T) {
	b := newBench(t)
	engine := exec.Command(os.Args[0], "sleeper", b.Store.Dir(), b.notes)
	if err := engine.Start(); err != nil {
		t.Fatal(err)
	}
	pid := b.waitForSleeper()
	engine.Process.Kill()
	engine.Wait()
	gone := false
	for range 100 {
		if gone = errors.Is(syscall.Kill(pid, 0), syscall.ESRCH); gone {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if !gone {
		t.Errorf("process %d lives", pid)
	}
	os.Remove(b.notes)

	s, err := store.Open(b.Store.Dir())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	next := benchOn(t, s, b.notes)
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		defer cancel()
		next.waitForSleeper()
	}()
	if _, err := next.try(ctx, next.node("sleeper", testParams{Do: "sleep"})); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	next.checkNothingLeft()
}

// waitForSleeper returns the process of the build of a node named sleeper, or 0 if it does not start.
func (b *bench) waitForSleeper() (pid int) {
	for range 500 {
		content, _ := os.ReadFile(b.notes)
		if n, _ := fmt.Sscanf(string(content), "sleeper %d\n", &pid); n == 1 {
			return pid
		}
		time.Sleep(20 * time.Millisecond)
	}
	return 0
}

func TestOffline(t *testing.T) {
	b := newBench(t)
	b.Offline = true
	f := b.file("f", "content")
	net := b.node("net", testParams{})
	net.Kind = "test-network"
	for want, n := range map[string]*Node{
		"fetch f: not in the store, and --offline forbids to fetch it": b.node("user", testParams{}, f),
		"it reads from upstream, and --offline forbids that":           net,
	} {
		if _, err := b.try(context.Background(), n); err == nil || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	b.want("built", b.built(), "")

	b.Offline = false
	b.realize(f, net)
	b.Offline = true
	b.want("outcomes", outcomes(b.realize(b.node("user", testParams{}, f, net))), "net:reused user:built")
}

func TestFetch(t *testing.T) {
	b := newBench(t)
	f := b.file("f", "content")
	got := b.realize(f)
	b.want("outcomes", outcomes(got), "f:fetched")
	b.want("again", outcomes(b.realize(f)), "")
	// The same content under another name is another artifact, and nothing to download.
	gone, err := Fetch("g", "g", store.HashBlob([]byte("content")), At("file:///nonesuch"))
	if err != nil {
		t.Fatal(err)
	}
	got = b.realize(b.node("user", testParams{}, gone))
	b.want("content", b.content(got["user"].Artifact), "user(content)")

	for name, c := range map[string]struct {
		locate Locator
		want   string
	}{
		"gone":    {At("file:///nonesuch"), "404"},
		"no URL":  {At(), "no URL is known"},
		"no idea": {func(context.Context) ([]string, error) { return nil, errors.New("the index is down") }, "the index is down"},
	} {
		n, err := Fetch(name, "x", store.HashBlob([]byte("other")), c.locate)
		if err != nil {
			t.Fatal(err)
		}
		_, err = b.try(context.Background(), b.node("user", testParams{}, n))
		if err == nil || !strings.HasPrefix(err.Error(), "fetch "+name+": ") || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Fetch("x", "../x", store.HashBlob(nil), At()); err == nil {
		t.Error("a file name that leads elsewhere is accepted")
	}
	if _, err := Fetch("x", "x", store.Blob{Digest: "sha256:../..", Size: 1}, At()); err == nil {
		t.Error("a digest that is none is accepted")
	}
}

// TestPlanIsWhatRealizeDoes compares both, in several states of the store.
func TestPlanIsWhatRealizeDoes(t *testing.T) {
	a := newBench(t)
	top := func(b *bench, leaf testParams) *Node {
		return b.node("top", testParams{}, b.node("leaf", leaf, b.file("f", "content")), b.node("side", testParams{}))
	}
	a.realize(top(a, testParams{}))
	with := func() *bench {
		b := newBench(t)
		b.Substituters = []Substituter{&otherStore{Store: a.Store}}
		return b
	}
	whole, part := with(), with()
	for name, c := range map[string]struct {
		bench *bench
		goal  *Node
		want  string // of the plan
	}{
		"all here":        {a, top(a, testParams{}), "f:reuse leaf:reuse side:reuse top:reuse"},
		"leaf moved":      {a, top(a, testParams{Text: "moved"}), "f:reuse leaf:build side:reuse top:build"},
		"nothing":         {newBench(t), nil, "f:fetch leaf:build side:build top:build"},
		"all there":       {whole, top(whole, testParams{}), "f: leaf:reuse side:reuse top:fetch"},
		"only part of it": {part, top(part, testParams{Text: "moved on"}), "f:fetch leaf:build side:fetch top:build"},
	} {
		t.Run(name, func(t *testing.T) {
			if c.goal == nil {
				c.goal = top(c.bench, testParams{})
			}
			steps, err := c.bench.Plan(context.Background(), graph(t, c.goal))
			if err != nil {
				t.Fatal(err)
			}
			var plan []string
			actions := make(map[string]Action)
			for _, s := range steps {
				actions[s.Node.Name] = s.Action
			}
			for _, n := range []string{"f", "leaf", "side", "top"} {
				plan = append(plan, n+":"+string(actions[n]))
			}
			c.bench.want("plan", strings.Join(plan, " "), c.want)
			got := c.bench.realize(c.goal)
			for name, a := range actions {
				o := got[name].Outcome
				if (a == BuildIt) != (o == Built) || o == Fetched && a != FetchIt {
					t.Errorf("%s: planned %q, became %q", name, a, o)
				}
			}
			for _, s := range steps {
				if s.Action == BuildIt && !strings.Contains(s.Because, "was never built") {
					t.Errorf("%s: because %q", s.Node.Name, s.Because)
				}
			}
		})
	}
}

func TestUnknownKind(t *testing.T) {
	b := newBench(t)
	n := b.node("n", testParams{})
	n.Kind = "alchemy"
	if _, err := b.try(context.Background(), n); err == nil || !strings.Contains(err.Error(), `derive n: no builder is known for kind "alchemy"`) {
		t.Errorf("got %v", err)
	}
	if _, err := b.Plan(context.Background(), graph(t, n)); err == nil {
		t.Error("it has a plan")
	}
}

func TestSandboxedBuildSeesItsOwnProcesses(t *testing.T) {
	if err := sandbox.Check(); err != nil {
		t.Skip(err)
	}
	b := newBench(t)
	n := b.node("n", testParams{Do: "pid"})
	n.Kind = "test-sandbox"
	b.want("content", b.content(b.realize(n)["n"].Artifact), "n1")
}
