package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/rcbops/rpcbuild/derive"
)

// plainView shows the activity as lines, for logs: one when a build starts and one when it ends,
// but downloads, of which there are hundreds, are put together.
type plainView struct {
	*activity
	w    io.Writer
	told time.Time // when the last line was printed

	files   int   // downloads that ended since
	reused  int   // artifacts that came from rpc-repo since
	bytes   int64 // of both
	copying int64 // of the transfer, when it was last told of
}

const (
	plainEvery = 10 * time.Second // a line of downloads
	plainAlive = time.Minute      // a line of what still runs
)

func (v *plainView) event(ev derive.Event) {
	n := ev.Node
	switch {
	case ev.Type == derive.Fail:
		v.flush()
		writeFailure(v.w, ev, 0)
		v.told = v.now()
	case ev.Type == derive.Wait:
		v.line("waiting", n.Name, "for "+ev.Holder.String())
	case ev.Type == derive.Start && ev.Outcome == derive.Built:
		v.line("building", n.Name, "")
	case ev.Type != derive.Done:
	case ev.Outcome == derive.Skipped:
		v.line("skipped", n.Name, "something that it needs failed")
	case ev.Outcome == derive.Reused && ev.Bytes > 0:
		v.reused, v.bytes = v.reused+1, v.bytes+ev.Bytes
	case ev.Outcome == derive.Fetched && n.Kind == derive.FetchKind:
		v.files, v.bytes = v.files+1, v.bytes+ev.Bytes
	case ev.Outcome == derive.Built, ev.Outcome == derive.Fetched:
		v.line(string(ev.Outcome), n.Name, formatSeconds(ev.Seconds))
	}
}

func (v *plainView) tick() {
	quiet := v.now().Sub(v.told)
	if quiet >= plainEvery {
		v.flush()
	}
	if quiet >= plainAlive && len(v.running) > 0 {
		v.line("running", v.longest(), "")
	}
}

func (v *plainView) end() { v.flush() }

// flush tells what came over since it was last told.
func (v *plainView) flush() {
	if v.files+v.reused > 0 {
		var parts []string
		if v.files > 0 {
			parts = append(parts, count(v.files, "file"))
		}
		if v.reused > 0 {
			parts = append(parts, count(v.reused, "artifact")+" from rpc-repo")
		}
		bytes := v.bytes
		v.files, v.reused, v.bytes = 0, 0, 0
		v.line("fetched", strings.Join(parts, ", "), formatBytes(bytes))
	}
	if t := v.transfer; t != nil && t.bytes > v.copying {
		v.copying = t.bytes
		v.line("copied", t.what, formatBytes(t.bytes))
	}
}

// line prints one line, after those that are due.
func (v *plainView) line(did, what, note string) {
	v.told = v.now()
	fmt.Fprintln(v.w, strings.TrimRight(fmt.Sprintf("%-8s  %s  %s", did, what, note), " "))
}

// longest names what runs and for how long, the oldest first.
func (v *plainView) longest() string {
	var works []*work
	for _, w := range v.running {
		works = append(works, w)
	}
	slices.SortFunc(works, func(a, b *work) int { return a.since.Compare(b.since) })
	var parts []string
	for _, w := range works[:min(len(works), 4)] {
		parts = append(parts, fmt.Sprintf("%s (%s)", w.node.Name, formatDuration(v.now().Sub(w.since))))
	}
	if more := len(works) - len(parts); more > 0 {
		parts = append(parts, fmt.Sprintf("%d more", more))
	}
	return strings.Join(parts, ", ")
}
