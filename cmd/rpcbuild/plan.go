package main

import (
	"context"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/rcbops/rpcbuild/derive"
	"github.com/rcbops/rpcbuild/store"
)

type planOptions struct {
	only    []string
	offline bool
	pull    bool
	json    bool
}

func newPlan(a *app) *cobra.Command {
	var o planOptions
	cmd := &cobra.Command{
		Use:   "plan RELEASE",
		Short: "Say what realize would reuse, fetch and build, and why",
		Long: `plan says of each derivation of a release what realize would do about it, and why. It builds and
fetches nothing.`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: a.completeRelease,
		RunE:              func(cmd *cobra.Command, args []string) error { return o.run(cmd.Context(), a, args) },
	}
	flags := cmd.Flags()
	onlyFlag(flags, &o.only)
	flags.BoolVar(&o.offline, "offline", false, "do not ask rpc-repo, and plan without it")
	flags.BoolVar(&o.pull, "pull", true, "take from --repo what it has")
	jsonFlag(flags, &o.json)
	return cmd
}

// jsonStep is a line of plan.
type jsonStep struct {
	Name     string           `json:"name"`
	Kind     string           `json:"kind"`
	Drv      store.DrvID      `json:"drv"`
	Artifact store.ArtifactID `json:"artifact"`
	Action   derive.Action    `json:"action"`
	Because  string           `json:"because"`
	Size     int64            `json:"size"`
}

// jsonPlanned is the last line of plan.
type jsonPlanned struct {
	Event      string `json:"event"`
	Release    string `json:"release"`
	Reuse      int    `json:"reuse"`
	Fetch      int    `json:"fetch"`
	Build      int    `json:"build"`
	FetchBytes int64  `json:"fetch_bytes"`
}

func (o *planOptions) run(ctx context.Context, a *app, args []string) error {
	rel, s, err := a.openRelease(args, false)
	if err != nil {
		return err
	}
	defer s.close()
	g, err := s.graph(rel, o.only...)
	if err != nil {
		return err
	}
	e := s.engine()
	e.Offline = o.offline
	if !o.pull {
		e.Substituters = nil
	}
	steps, err := e.Plan(ctx, g)
	if err != nil {
		return fmt.Errorf("plan %s: %w", rel.Name, err)
	}
	sum := jsonPlanned{Event: "summary", Release: rel.Name}
	for _, st := range steps {
		sum.add(st)
	}
	if o.json {
		return o.printJSON(a, steps, sum)
	}
	return o.print(a, steps, sum)
}

func (p *jsonPlanned) add(s derive.Step) {
	switch s.Action {
	case derive.Reuse:
		p.Reuse++
	case derive.BuildIt:
		p.Build++
	case derive.FetchIt:
		p.Fetch++
		p.FetchBytes += s.Size
	}
}

func (o *planOptions) printJSON(a *app, steps []derive.Step, sum jsonPlanned) error {
	j := newJSONLines(a.out)
	for _, s := range steps {
		if s.Action != derive.NotAsked {
			j.write(jsonStep{s.Node.Name, s.Node.Kind, s.Drv, s.Artifact, s.Action, s.Because, s.Size})
		}
	}
	j.write(sum)
	return j.err
}

// print lists what would be done. What is there, and single files to download, are only counted.
func (o *planOptions) print(a *app, steps []derive.Step, sum jsonPlanned) error {
	tw := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	files, bytes := 0, int64(0)
	for _, s := range steps {
		switch {
		case s.Action == derive.FetchIt && s.Node.Kind == derive.FetchKind:
			files++
			bytes += s.Size
		case s.Action == derive.FetchIt, s.Action == derive.BuildIt:
			fmt.Fprintf(tw, "%s\t%s\t%s\t%s\n", s.Action, s.Node.Name, formatSize(s.Size), oneLine(s.Because))
		}
	}
	if files > 0 {
		fmt.Fprintf(tw, "fetch\t%s\t%s\t%s\n", count(files, "file"), formatBytes(bytes), "builds need them, and the store does not have them")
	}
	fmt.Fprintf(tw, "%s: %d to reuse, %d to fetch (%s), %d to build\n", sum.Release, sum.Reuse, sum.Fetch, formatBytes(sum.FetchBytes), sum.Build)
	return tw.Flush()
}

// oneLine puts a text on one line of a table.
func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
