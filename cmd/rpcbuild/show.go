package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/rcbops/rpcbuild/derive"
	"github.com/rcbops/rpcbuild/recipes/spec"
)

type showOptions struct {
	only    []string
	summary bool
	json    bool
}

func newShow(a *app) *cobra.Command {
	var o showOptions
	cmd := &cobra.Command{
		Use:               "show RELEASE [NAME]",
		Short:             "Show the derivations of a release, or one of them",
		Args:              cobra.MaximumNArgs(2),
		ValidArgsFunction: a.completeRelease,
		RunE:              func(cmd *cobra.Command, args []string) error { return o.run(cmd.Context(), a, args) },
	}
	onlyFlag(cmd.Flags(), &o.only)
	cmd.Flags().BoolVar(&o.summary, "summary", false, "say how much of what there is, and how to look at it")
	jsonFlag(cmd.Flags(), &o.json)
	return cmd
}

func (o *showOptions) run(ctx context.Context, a *app, args []string) error {
	s, steps, err := a.lookUp(ctx, args, o.only)
	if err != nil {
		return err
	}
	defer s.close()
	if len(args) == 2 {
		step, err := findStep(steps, args[1])
		if err != nil {
			return err
		}
		if !o.json {
			return o.printOne(s, steps, step)
		}
		j := newJSONLines(a.out)
		d, err := s.describeBuild(step, artifactsOf(steps))
		j.write(d)
		return firstError(err, j.err)
	}
	switch {
	case o.json:
		return o.printJSON(s, steps)
	case o.summary:
		return o.printSummary(s, steps)
	default:
		return o.print(s, steps)
	}
}

// lookUp opens the release that args name and finds out what is known of its derivations. The
// caller closes the session.
func (a *app) lookUp(ctx context.Context, args, only []string) (s *session, steps []derive.Step, err error) {
	rel, err := a.load(args)
	if err != nil {
		return nil, nil, err
	}
	if s, err = a.open(false); err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	g, err := s.graph(rel, only...)
	if err != nil {
		return nil, nil, err
	}
	if steps, err = s.engine().Plan(ctx, g); err != nil {
		return nil, nil, fmt.Errorf("look up %s: %w", rel.Name, err)
	}
	return s, steps, nil
}

func findStep(steps []derive.Step, name string) (derive.Step, error) {
	names := make([]string, 0, len(steps))
	for _, s := range steps {
		if s.Node.Name == name {
			return s, nil
		}
		names = append(names, s.Node.Name)
	}
	slices.Sort(names)
	hint := spec.Suggest(name, names)
	if len(hint) > 200 {
		hint = "show RELEASE lists them"
	}
	return derive.Step{}, usageErrorf("the release has no derivation %q (%s)", name, hint)
}

// print lists the derivations. Fetches, of which there are hundreds, are counted.
func (o *showOptions) print(s *session, steps []derive.Step) error {
	tw := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
	fmt.Fprint(tw, "name\tkind\tderivation\tartifact\tsize\n")
	files, bytes := 0, int64(0)
	for _, st := range steps {
		if st.Node.Kind == derive.FetchKind {
			files++
			bytes += st.Size
			continue
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\n", st.Node.Name, st.Node.Kind, shortOf(st.Drv), shortOf(st.Artifact), formatSize(st.Size))
	}
	if files > 0 {
		fmt.Fprintf(tw, "and %s from upstreams, %s\n", count(files, "file"), formatBytes(bytes))
	}
	return tw.Flush()
}

// shortOf writes an id for people; one that is not known is a dash.
func shortOf(id interface {
	IsZero() bool
	Short() string
}) string {
	if id.IsZero() {
		return "-"
	}
	return id.Short()
}

// printOne shows one derivation with everything that is known of it.
func (o *showOptions) printOne(s *session, steps []derive.Step, st derive.Step) error {
	d, err := s.describeBuild(st, artifactsOf(steps))
	if err != nil {
		return err
	}
	tw := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
	row := func(key, value string) {
		if value != "" {
			fmt.Fprintf(tw, "%s\t%s\n", key, value)
		}
	}
	row("name", d.Name)
	row("kind", d.Kind)
	if !d.Drv.IsZero() {
		row("derivation", d.Drv.String())
	}
	if !d.Artifact.IsZero() {
		row("artifact", d.Artifact.String())
		row("size", formatSize(d.Size))
	}
	if d.Time != nil {
		row("built", fmt.Sprintf("by %s, %s, in %s", d.Builder, d.Time.Format(time.RFC3339), formatSeconds(d.Seconds)))
		row("with", d.Tool)
		row("signed", cmp.Or(strings.Join(d.Signers, ", "), "by nobody"))
	}
	row("state", string(st.Action)+": "+oneLine(st.Because))
	for _, name := range slices.Sorted(maps.Keys(d.Inputs)) {
		row("input", shortOf(d.Inputs[name])+"  "+name+"  "+st.Node.Inputs[name].Node.Name)
	}
	for _, p := range d.Publish {
		row("published", p)
	}
	return tw.Flush()
}
