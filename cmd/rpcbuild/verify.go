package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/rcbops/rpcbuild/cache"
	"github.com/rcbops/rpcbuild/store"
)

type verifyOptions struct {
	only  []string
	deep  bool
	json  bool
	junit string // a file
}

func newVerify(a *app) *cobra.Command {
	var o verifyOptions
	cmd := &cobra.Command{
		Use:   "verify RELEASE",
		Short: "Check that every artifact of a release exists, and build nothing",
		Long: `verify says of each artifact of a release whether it is present in the store or in rpc-repo, missing
(it would be built, and why), or wrong. It builds nothing, never writes to rpc-repo and needs no root.

It exits with 3 if something is missing, 4 if something is wrong, 5 if rpc-repo does not answer.

--junit also writes the verdicts as JUnit XML, for CI: the release is a test suite, each artifact a test
case of the class of its kind. What is missing or wrong is a failure of that type, with the reason. If
rpc-repo does not answer, the suite is one error. The file is written in all these cases.`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: a.completeRelease,
		RunE:              func(cmd *cobra.Command, args []string) error { return o.run(cmd.Context(), a, args) },
	}
	flags := cmd.Flags()
	onlyFlag(flags, &o.only)
	flags.BoolVar(&o.deep, "deep", false, "read and verify every byte that rpc-repo has of the release")
	flags.StringVar(&o.junit, "junit", "", "`file` to write the verdicts to, as JUnit XML")
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
	began := time.Now()
	verdicts, err := o.judge(ctx, s, g)
	if err != nil {
		err = fmt.Errorf("verify %s: %w", rel.Name, err)
	}
	if isInterrupt(err) {
		return err
	}
	reported := o.report(rel.Name, began, verdicts, err)
	if err != nil {
		return errors.Join(err, reported)
	}
	sum := jsonVerified{Event: "summary", Release: rel.Name}
	for _, v := range verdicts {
		sum.add(v.State)
	}
	if err := a.printVerdicts(verdicts, sum, o.json); err != nil {
		return err
	}
	return errors.Join(sum.err(), reported)
}

// report writes the file that --junit asks for.
func (o *verifyOptions) report(release string, began time.Time, verdicts []jsonVerdict, err error) error {
	if o.junit == "" {
		return nil
	}
	return newJUnit(release, began, time.Since(began), verdicts, err).write(o.junit)
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

// printVerdicts prints what a verify or a repair found, as JSON or as a table.
func (a *app) printVerdicts(verdicts []jsonVerdict, sum jsonVerified, json bool) error {
	if json {
		j := newJSONLines(a.out)
		for _, v := range verdicts {
			j.write(v)
		}
		j.write(sum)
		return j.err
	}
	return a.table(func(row func(...any)) {
		for _, v := range verdicts {
			if v.Reason == "" {
				row(v.State, v.Name)
			} else {
				row(v.State, v.Name, oneLine(v.Reason))
			}
		}
		row(fmt.Sprintf("%s: %d present, %d missing, %d wrong", sum.Release, sum.Present, sum.Missing, sum.Wrong))
	})
}
