package main

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/rcbops/rpcbuild/derive"
	"github.com/rcbops/rpcbuild/recipes"
	"github.com/rcbops/rpcbuild/recipes/apt"
	"github.com/rcbops/rpcbuild/recipes/git"
	"github.com/rcbops/rpcbuild/recipes/python"
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
	rel, s, err := a.openRelease(args, false)
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
	changes, err := s.lock(ctx, rel, e, o.keyOptions, o.update)
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

// lock resolves the release's upstreams and writes its lock. What pip says while it goes on is
// printed only if the lock fails.
func (s *session) lock(ctx context.Context, r *recipes.Release, e *derive.Engine, key keyOptions, update []string) ([]recipes.Change, error) {
	var said bytes.Buffer
	l := &recipes.Locker{
		Apt: &apt.Resolver{
			RecipesDir: r.Dir, Client: s.client, Archive: s.archive, Now: time.Now,
			Log: func(format string, args ...any) { fmt.Fprintf(s.err, format+"\n", args...) },
		},
		Git:        &git.Resolver{RecipesDir: r.Dir},
		Python:     &python.Resolver{RecipesDir: r.Dir, Client: s.client, Log: &said},
		Engine:     e,
		Upstreams:  s.upstreamsNow(),
		SigningKey: s.signingKey(key),
	}
	changes, err := l.Lock(ctx, r, update)
	if err == nil {
		return changes, nil
	}
	if ctx.Err() == nil {
		s.err.Write(said.Bytes())
	}
	return nil, fmt.Errorf("lock %s: %w", r.Name, err)
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
