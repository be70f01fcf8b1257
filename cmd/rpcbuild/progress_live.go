package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/rcbops/rpcbuild/derive"
)

// liveView shows the activity in place, on a terminal.
type liveView struct {
	*activity
	console *console
	recent  []string // the last results, the newest last
	rate    rate
}

const (
	recentLines  = 3  // results that stay in view
	fetchLines   = 3  // downloads in view; the others are counted
	logTailLines = 20 // of a failed build's log; the whole of it is a command away
)

func (v *liveView) event(ev derive.Event) {
	switch {
	case ev.Type == derive.Fail:
		writeFailure(v.console, ev, logTailLines)
	case ev.Type == derive.Done && ev.Node.Kind != derive.FetchKind && (ev.Outcome == derive.Built || ev.Outcome == derive.Fetched):
		v.recent = append(v.recent, column(string(ev.Outcome), ev.Node.Name, formatSeconds(ev.Seconds)))
		v.recent = v.recent[max(0, len(v.recent)-recentLines):]
	}
}

func (v *liveView) tick() {
	v.rate.add(v.now(), v.received())
	lines := []string{v.header()}
	lines = append(lines, v.works()...)
	if t := v.transfer; t != nil {
		lines = append(lines, column("copying", t.what, formatBytes(t.bytes)))
	}
	v.console.show(append(lines, v.recent...))
}

func (v *liveView) end() { v.console.show(nil) }

func (v *liveView) header() string {
	parts := []string{v.title + " " + formatDuration(v.now().Sub(v.start))}
	if s := v.total().sentence(); s != "" {
		parts = append(parts, s)
	}
	if left := v.left(); left > 0 {
		parts = append(parts, fmt.Sprintf("%d left", left))
	}
	if n := v.received(); n > 0 {
		parts = append(parts, fmt.Sprintf("%s, %s/s", formatBytes(n), formatBytes(v.rate.value)))
	}
	return strings.Join(parts, " | ")
}

// works has a line for each node that something is done about: builds, the oldest first, then the
// oldest downloads.
func (v *liveView) works() []string {
	var builds, fetches []*work
	for _, w := range v.running {
		if w.fetches {
			fetches = append(fetches, w)
		} else {
			builds = append(builds, w)
		}
	}
	oldest := func(a, b *work) int {
		return cmp.Or(a.since.Compare(b.since), strings.Compare(a.node.Name, b.node.Name))
	}
	slices.SortFunc(builds, oldest)
	slices.SortFunc(fetches, oldest)
	var lines []string
	for _, w := range builds {
		did, note := "building", formatDuration(v.now().Sub(w.since))
		if w.waits != "" {
			did, note = "waiting", note+", for "+w.waits
		}
		lines = append(lines, column(did, w.node.Name, note))
	}
	for _, w := range fetches[:min(len(fetches), fetchLines)] {
		note := formatBytes(w.done)
		if w.total > 0 {
			note += " of " + formatBytes(w.total)
		}
		lines = append(lines, column("fetching", w.node.Name, note))
	}
	if more := len(fetches) - fetchLines; more > 0 {
		lines = append(lines, column("fetching", fmt.Sprintf("and %d more", more), ""))
	}
	return lines
}

// column writes what is done, to what, and a note, to fit 80 columns.
func column(did, name, note string) string {
	return fmt.Sprintf("  %-8s  %-40s  %s", did, cut(name, 40), note)
}

// rate is bytes a second, over the last second or two.
type rate struct {
	value int64
	at    time.Time
	bytes int64
}

func (r *rate) add(now time.Time, bytes int64) {
	if r.at.IsZero() {
		r.at, r.bytes = now, bytes
		return
	}
	d := now.Sub(r.at)
	if d < time.Second {
		return
	}
	current := max(0, int64(float64(bytes-r.bytes)/d.Seconds()))
	r.value = (r.value + current) / 2
	r.at, r.bytes = now, bytes
}
