package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/rcbops/rpcbuild/recipes"
)

type lockOptions struct {
	engineOptions
	keyOptions
	update []string
	json   bool
}

func newLock(a *app) *cobra.Command {
	var o lockOptions
	cmd := &cobra.Command{
		Use:   "lock RELEASE",
		Short: "Resolve upstreams and write a release's lock",
		Long: `lock asks upstreams for what the definition wants and writes what they answer into the release's lock.
What a lock that is there pins stays, but for what --update names; what moved is printed.`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: a.completeRelease,
		RunE:              func(cmd *cobra.Command, args []string) error { return o.run(cmd.Context(), a, args) },
	}
	flags := cmd.Flags()
	o.engineOptions.flags(flags)
	o.keyOptions.flags(flags, true)
	flags.StringSliceVar(&o.update, "update", nil, "`names` of what moves: all, apt, git, python, or a mirror's, repository's or package's")
	jsonFlag(flags, &o.json)
	return cmd
}

// jsonChange is a line of lock.
type jsonChange struct {
	Event string `json:"event"`
	recipes.Change
}

// jsonLocked is the last line of lock.
type jsonLocked struct {
	Event   string `json:"event"`
	Release string `json:"release"`
	Lock    string `json:"lock"` // the file
	Changes int    `json:"changes"`
}

func (o *lockOptions) run(ctx context.Context, a *app, args []string) error {
	rel, err := a.load(args)
	if err != nil {
		return err
	}
	s, err := a.open(false)
	if err != nil {
		return err
	}
	defer s.close()
	e := s.engine()
	if err := o.apply(e); err != nil {
		return err
	}
	fresh := rel.Lock == nil
	r := newReporter("lock "+rel.Name, a.streams, nil)
	e.Events = r.event
	changes, err := s.locker(rel, e, a.signingKey(o.keyOptions)).Lock(ctx, rel, o.update)
	r.close()
	if err != nil {
		return r.conclude("lock "+rel.Name, err)
	}
	if o.json {
		j := newJSONLines(a.out)
		for _, c := range changes {
			j.write(jsonChange{"change", c})
		}
		j.write(jsonLocked{"summary", rel.Name, rel.LockPath, len(changes)})
		return j.err
	}
	if !fresh { // all of a new lock is new
		for _, c := range changes {
			fmt.Fprintln(a.out, c)
		}
	}
	_, err = fmt.Fprintf(a.out, "wrote %s: %s\n", rel.LockPath, countChanges(changes))
	return err
}

// countChanges says how much moved, by kind.
func countChanges(changes []recipes.Change) string {
	if len(changes) == 0 {
		return "nothing moved"
	}
	kinds := make(map[string]int)
	for _, c := range changes {
		kinds[c.Kind]++
	}
	var parts []string
	for _, kind := range slices.Sorted(maps.Keys(kinds)) {
		parts = append(parts, fmt.Sprintf("%d %s", kinds[kind], kind))
	}
	return count(len(changes), "change") + " (" + strings.Join(parts, ", ") + ")"
}
