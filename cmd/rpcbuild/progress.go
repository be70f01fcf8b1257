package main

import (
	"sync"
	"time"

	"github.com/rcbops/rpcbuild/derive"
)

// A reporter hears what an engine does and tells it: to people on standard error, and to programs
// as JSON. Its methods are safe for concurrent use.
type reporter struct {
	mu   sync.Mutex
	act  *activity
	view view
	json *jsonLines // nil: not asked for
	err  *console

	stopped bool // the user interrupted it: what that ends did not fail
	done    chan struct{}
	ticker  sync.WaitGroup
}

// A view shows an activity. The reporter calls one method at a time.
type view interface {
	// event is called after the activity took the event.
	event(derive.Event)
	// tick is called every now and then.
	tick()
	// end leaves nothing on the screen that moves.
	end()
}

// newReporter starts reporting: a live view on a terminal, lines elsewhere. close must be called.
func newReporter(title string, s streams, json *jsonLines) *reporter {
	act := newActivity(title, time.Now)
	r := &reporter{act: act, json: json, err: s.err, done: make(chan struct{})}
	every := time.Second
	if s.err.isTerminal() {
		r.view, every = &liveView{activity: act, console: s.err}, 100*time.Millisecond
	} else {
		r.view = &plainView{activity: act, w: s.err, told: act.now()}
	}
	r.ticker.Go(func() { r.run(every) })
	return r
}

func (r *reporter) run(every time.Duration) {
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		select {
		case <-r.done:
			return
		case <-t.C:
			r.mu.Lock()
			r.view.tick()
			r.mu.Unlock()
		}
	}
}

// expect says that the graph will be realized, so that the view can tell how much is left.
func (r *reporter) expect(g *derive.Graph) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.act.nodes = 0
	for _, n := range g.Nodes {
		if n.Kind != derive.FetchKind {
			r.act.nodes++
		}
	}
}

// event is for [derive.Engine.Events].
func (r *reporter) event(ev derive.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if ev.Type == derive.Fail && isInterrupt(ev.Err) {
		r.stopped = true
		return
	}
	if r.stopped && ev.Outcome == derive.Skipped {
		return
	}
	r.act.add(ev)
	if r.json != nil {
		r.json.event(ev)
	}
	r.view.event(ev)
}

// transfer begins a push or a pull. The result is to be called with the number of bytes so far.
func (r *reporter) transfer(what string) func(int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.act.transfer = &transfer{what: what}
	t := r.act.transfer
	return func(n int64) {
		r.mu.Lock()
		defer r.mu.Unlock()
		t.bytes = max(t.bytes, n)
	}
}

// close ends the view.
func (r *reporter) close() {
	close(r.done)
	r.ticker.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.view.end()
}

// An activity is what goes on now and what was done so far.
type activity struct {
	*tally
	title    string
	now      func() time.Time
	start    time.Time
	running  map[*derive.Node]*work
	transfer *transfer // nil: none was begun
	nodes    int       // that are expected, without fetches
	errors   []error   // of the events that told of a failure
}

// work is a node that something is done about.
type work struct {
	node        *derive.Node
	since       time.Time
	fetches     bool   // it is copied, not built
	done, total int64  // bytes; total is 0 where it is not known
	waits       string // for whom, if somebody else builds it
}

// transfer is a push or a pull.
type transfer struct {
	what  string
	bytes int64
}

func newActivity(title string, now func() time.Time) *activity {
	return &activity{tally: newTally(), title: title, now: now, start: now(), running: make(map[*derive.Node]*work)}
}

func (a *activity) add(ev derive.Event) {
	a.tally.add(ev)
	switch ev.Type {
	case derive.Done:
		delete(a.running, ev.Node)
		return
	case derive.Fail:
		delete(a.running, ev.Node)
		a.errors = append(a.errors, ev.Err)
		return
	}
	w := a.running[ev.Node]
	if w == nil || ev.Type == derive.Start {
		w = &work{node: ev.Node, since: a.now(), fetches: ev.Outcome != derive.Built}
		a.running[ev.Node] = w
	}
	w.total = max(w.total, ev.Total)
	switch ev.Type {
	case derive.Progress:
		w.done, w.waits = ev.Done, ""
	case derive.Wait:
		w.waits = ev.Holder.String()
	}
}

// left is how many nodes nothing was said of yet.
func (a *activity) left() int {
	left := a.nodes
	for n := range a.outcomes {
		if n.Kind != derive.FetchKind {
			left--
		}
	}
	return max(0, left)
}

// received is how many bytes came over the network so far.
func (a *activity) received() int64 {
	n := a.downloaded()
	for _, w := range a.running {
		n += w.done
	}
	return n
}
