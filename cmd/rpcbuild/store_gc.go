package main

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/rcbops/rpcbuild/store"
)

type storeGCOptions struct {
	keep    int
	maxSize byteSize
	grace   time.Duration
	dryRun  bool
	json    bool
}

func newStoreGC(a *app) *cobra.Command {
	var o storeGCOptions
	cmd := &cobra.Command{
		Use:   "gc",
		Short: "Remove what no release, pin or running process needs",
		Long: `gc keeps the newest roots of each release, all pins, and what running processes use. A root is written by
each realize and pull that succeeds. Others may use the store meanwhile.

With --max-size it then removes unpacked root file systems, and further roots from the oldest on, until the store
fits. It exits with 1 if it cannot.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context(), a) },
	}
	flags := cmd.Flags()
	flags.IntVar(&o.keep, "keep", 3, "`number` of roots of each release that stay")
	flags.Var(&o.maxSize, "max-size", "`bytes` of disk that the store may take, such as 20GiB")
	flags.DurationVar(&o.grace, "grace", 0, "spare what was used in that `time`, such as 24h")
	flags.BoolVar(&o.dryRun, "dry-run", false, "say what would go, and remove nothing")
	jsonFlag(flags, &o.json)
	return cmd
}

// jsonDropped is a line of gc: a root that goes.
type jsonDropped struct {
	Event   string    `json:"event"`
	Release string    `json:"release"`
	Time    time.Time `json:"time"`
	Path    string    `json:"path"`
}

// jsonSwept is the last line of gc.
type jsonSwept struct {
	Event  string `json:"event"`
	DryRun bool   `json:"dry_run"`
	Count  int    `json:"count"`
	Bytes  int64  `json:"bytes"`          // of disk
	Size   int64  `json:"size,omitempty"` // of the store, with --max-size
	Over   int64  `json:"over"`           // what --max-size is missed by
}

func (o *storeGCOptions) run(ctx context.Context, a *app) error {
	if o.keep < 1 || o.grace < 0 {
		return usageErrorf("--keep %d, --grace %s: want at least 1, and no negative time", o.keep, o.grace)
	}
	s, err := a.openStore()
	if err != nil {
		return err
	}
	defer s.Close()
	r, err := s.GC(ctx, store.GCOptions{Keep: o.keep, MaxSize: int64(o.maxSize), Grace: o.grace, DryRun: o.dryRun})
	if err != nil {
		return err
	}
	sum := jsonSwept{Event: "summary", DryRun: o.dryRun, Size: r.Size, Over: r.Over}
	for _, x := range r.Removed {
		sum.Count += x.Count
		sum.Bytes += x.Bytes
	}
	print := o.print
	if o.json {
		print = o.printJSON
	}
	if err := print(a, r, sum); err != nil {
		return err
	}
	if r.Over > 0 {
		return fmt.Errorf("store gc: %s more than --max-size are left, which the newest roots, pins and running processes need (unpin, or give it more room)", formatBytes(r.Over))
	}
	return nil
}

func (o *storeGCOptions) print(a *app, r store.GCReport, sum jsonSwept) error {
	verb := "removed"
	if o.dryRun {
		verb = "would remove"
	}
	return a.table(func(row func(...any)) {
		for _, x := range r.Dropped {
			row("root", x.Release, x.Time.Format(time.RFC3339))
		}
		for _, x := range r.Removed {
			row(x.What, x.Count, formatBytes(x.Bytes))
		}
		row(fmt.Sprintf("%s %s, %s", verb, count(sum.Count, "object"), formatBytes(sum.Bytes)))
	})
}

func (o *storeGCOptions) printJSON(a *app, r store.GCReport, sum jsonSwept) error {
	j := newJSONLines(a.out)
	for _, x := range r.Dropped {
		j.write(jsonDropped{"root", x.Release, x.Time, x.Path})
	}
	for _, x := range r.Removed {
		j.write(jsonAmount{"remove", x.What, x.Count, x.Bytes})
	}
	j.write(sum)
	return j.err
}

// byteSize is a flag with a number of bytes: 500, 10MB, 20GiB.
type byteSize int64

func (b *byteSize) String() string {
	if *b == 0 {
		return ""
	}
	return strconv.FormatInt(int64(*b), 10)
}

func (b *byteSize) Type() string { return "bytes" }

func (b *byteSize) Set(text string) error {
	digits := strings.TrimRight(text, "kKMGTiB ")
	n, err := strconv.ParseFloat(digits, 64)
	if err != nil || n <= 0 || math.IsInf(n, 0) {
		return fmt.Errorf("%q: want a number of bytes, such as 20GiB", text)
	}
	units := map[string]float64{
		"": 1, "B": 1, "kB": 1e3, "K": 1 << 10, "KiB": 1 << 10, "MB": 1e6, "M": 1 << 20, "MiB": 1 << 20,
		"GB": 1e9, "G": 1 << 30, "GiB": 1 << 30, "TB": 1e12, "T": 1 << 40, "TiB": 1 << 40,
	}
	unit, ok := units[strings.TrimSpace(text[len(digits):])]
	if !ok || n*unit >= math.MaxInt64 {
		return fmt.Errorf("%q: want a number of bytes, such as 20GiB", text)
	}
	*b = byteSize(n * unit)
	return nil
}
