package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/rcbops/rpcbuild/derive"
)

// A tally counts what became of nodes.
type tally struct {
	outcomes map[*derive.Node]derive.Outcome
	seconds  map[string]float64 // of builders, by kind
	bytes    map[string]int64   // that came over the network, by kind
}

func newTally() *tally {
	return &tally{make(map[*derive.Node]derive.Outcome), make(map[string]float64), make(map[string]int64)}
}

func (t *tally) add(ev derive.Event) {
	if ev.Type != derive.Done && ev.Type != derive.Fail {
		return
	}
	kind := ev.Node.Kind
	t.outcomes[ev.Node] = ev.Outcome
	t.bytes[kind] += ev.Bytes
	if ev.Outcome != derive.Reused {
		t.seconds[kind] += ev.Seconds
	}
}

// counts are how many nodes came to each outcome.
type counts map[derive.Outcome]int

// total counts all nodes.
func (t *tally) total() counts {
	c := make(counts)
	for _, o := range t.outcomes {
		c[o]++
	}
	return c
}

// byKind counts the nodes of each kind.
func (t *tally) byKind() map[string]counts {
	kinds := make(map[string]counts)
	for n, o := range t.outcomes {
		if kinds[n.Kind] == nil {
			kinds[n.Kind] = make(counts)
		}
		kinds[n.Kind][o]++
	}
	return kinds
}

// downloaded is how many bytes came over the network, from upstreams and from rpc-repo.
func (t *tally) downloaded() int64 {
	var n int64
	for _, b := range t.bytes {
		n += b
	}
	return n
}

// sentence says the counts that are not zero, such as "3 built, 12 reused".
func (c counts) sentence() string {
	var parts []string
	for _, o := range []derive.Outcome{derive.Built, derive.Fetched, derive.Reused, derive.Failed, derive.Skipped} {
		if c[o] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", c[o], o))
		}
	}
	return strings.Join(parts, ", ")
}

// writeTable prints a line a kind, and a last one for all of them.
func (t *tally) writeTable(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(tw, "kind\tbuilt\tfetched\treused\tfailed\tskipped\tseconds\tdownloaded\t\n")
	row := func(name string, c counts, seconds float64, bytes int64) {
		fmt.Fprintf(tw, "%s\t%d\t%d\t%d\t%d\t%d\t%.1f\t%s\t\n", name,
			c[derive.Built], c[derive.Fetched], c[derive.Reused], c[derive.Failed], c[derive.Skipped], seconds, formatBytes(bytes))
	}
	var seconds float64
	kinds := t.byKind()
	for _, kind := range slices.Sorted(maps.Keys(kinds)) {
		row(kind, kinds[kind], t.seconds[kind], t.bytes[kind])
		seconds += t.seconds[kind]
	}
	row("all", t.total(), seconds, t.downloaded())
	return tw.Flush()
}
