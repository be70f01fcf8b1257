package main

import (
	"context"
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/rcbops/rpcbuild/cache"
	"github.com/rcbops/rpcbuild/derive"
	"github.com/rcbops/rpcbuild/store"
)

type verifyOptions struct {
	only []string
	deep bool
	json bool
}

func newVerify(a *app) *cobra.Command {
	var o verifyOptions
	cmd := &cobra.Command{
		Use:   "verify RELEASE",
		Short: "Check that every artifact of a release exists, and build nothing",
		Long: `verify says of each artifact of a release whether it is present in the store or in rpc-repo, missing
(it would be built, and why), or wrong. It builds nothing, never writes to rpc-repo and needs no root.

It exits with 3 if something is missing, 4 if something is wrong, 5 if rpc-repo does not answer.`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: a.completeRelease,
		RunE:              func(cmd *cobra.Command, args []string) error { return o.run(cmd.Context(), a, args) },
	}
	flags := cmd.Flags()
	onlyFlag(flags, &o.only)
	flags.BoolVar(&o.deep, "deep", false, "read and verify every byte that rpc-repo has of the release")
	jsonFlag(flags, &o.json)
	return cmd
}

// jsonVerdict is a line of verify.
type jsonVerdict struct {
	Name     string           `json:"name"`
	Kind     string           `json:"kind"`
	Drv      store.DrvID      `json:"drv"`
	Artifact store.ArtifactID `json:"artifact"`
	State    cache.State      `json:"state"`
	Reason   string           `json:"reason"`
}

// jsonVerified is the last line of verify.
type jsonVerified struct {
	Event   string `json:"event"`
	Release string `json:"release"`
	Present int    `json:"present"`
	Missing int    `json:"missing"`
	Wrong   int    `json:"wrong"`
}

func (o *verifyOptions) run(ctx context.Context, a *app, args []string) error {
	rel, s, err := a.openRelease(args, false)
	if err != nil {
		return err
	}
	defer s.close()
	g, err := s.graph(rel, o.only...)
	if err != nil {
		return err
	}
	s.tellTrust()
	verdicts, err := o.judge(ctx, s, g)
	if err != nil {
		return fmt.Errorf("verify %s: %w", rel.Name, err)
	}
	sum := jsonVerified{Event: "summary", Release: rel.Name}
	for _, v := range verdicts {
		sum.add(v.State)
	}
	print := o.print
	if o.json {
		print = o.printJSON
	}
	if err := print(a, verdicts, sum); err != nil {
		return err
	}
	return sum.err()
}

// judge asks the store for what it has, and the repos for all of it.
func (o *verifyOptions) judge(ctx context.Context, s *session, g *derive.Graph) ([]jsonVerdict, error) {
	steps, err := s.strictEngine().Plan(ctx, g)
	if err != nil {
		return nil, err
	}
	var verdicts []jsonVerdict
	for _, st := range steps {
		if st.Node.Kind != derive.FetchKind {
			verdicts = append(verdicts, verdictOf(st))
		}
	}
	for _, r := range s.repos {
		if err := o.ask(ctx, r, verdicts); err != nil {
			return nil, err
		}
	}
	return verdicts, nil
}

// verdictOf turns what realize would do into what verify says.
func verdictOf(s derive.Step) jsonVerdict {
	v := jsonVerdict{Name: s.Node.Name, Kind: s.Node.Kind, Drv: s.Drv, Artifact: s.Artifact, State: cache.Present}
	switch {
	case len(s.Others) > 1:
		v.State, v.Reason = cache.Wrong, fmt.Sprintf("its derivation gave different artifacts: %s and %s", s.Others[0].Short(), s.Others[1].Short())
	case s.Action == derive.BuildIt:
		v.State, v.Reason = cache.Missing, s.Because
	}
	return v
}

// ask adds what a repo has wrong. What it lacks does not count: another one, or the store, has it.
func (o *verifyOptions) ask(ctx context.Context, r *cache.Repo, verdicts []jsonVerdict) error {
	var items []cache.Item
	var of []int // the verdict of each item
	for i, v := range verdicts {
		if v.State == cache.Present {
			items = append(items, cache.Item{Name: v.Name, Kind: v.Kind, Drv: v.Drv, Artifact: v.Artifact})
			of = append(of, i)
		}
	}
	checked, err := r.Check(ctx, items, o.deep)
	if err != nil {
		return err
	}
	for i, c := range checked {
		if c.State == cache.Wrong {
			verdicts[of[i]].State, verdicts[of[i]].Reason = cache.Wrong, c.Reason
		}
	}
	return nil
}

func (s *jsonVerified) add(state cache.State) {
	switch state {
	case cache.Present:
		s.Present++
	case cache.Missing:
		s.Missing++
	case cache.Wrong:
		s.Wrong++
	}
}

// err is what the program ends with.
func (s *jsonVerified) err() error {
	switch {
	case s.Wrong > 0:
		return wrongError{fmt.Errorf("verify %s: %s wrong", s.Release, count(s.Wrong, "artifact"))}
	case s.Missing > 0:
		return missingError{fmt.Errorf("verify %s: %s missing (realize makes them)", s.Release, count(s.Missing, "artifact"))}
	default:
		return nil
	}
}

func (o *verifyOptions) printJSON(a *app, verdicts []jsonVerdict, sum jsonVerified) error {
	j := newJSONLines(a.out)
	for _, v := range verdicts {
		j.write(v)
	}
	j.write(sum)
	return j.err
}

func (o *verifyOptions) print(a *app, verdicts []jsonVerdict, sum jsonVerified) error {
	tw := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	for _, v := range verdicts {
		line := fmt.Sprintf("%s\t%s", v.State, v.Name)
		if v.Reason != "" {
			line += "\t" + oneLine(v.Reason)
		}
		fmt.Fprintln(tw, line)
	}
	fmt.Fprintf(tw, "%s: %d present, %d missing, %d wrong\n", sum.Release, sum.Present, sum.Missing, sum.Wrong)
	return tw.Flush()
}
