package main

import (
	"context"
	"fmt"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"

	"github.com/rcbops/rpcbuild/cache"
	"github.com/rcbops/rpcbuild/derive"
	"github.com/rcbops/rpcbuild/recipes"
	"github.com/rcbops/rpcbuild/store"
)

type realizeOptions struct {
	engineOptions
	keyOptions
	only      []string
	offline   bool
	keepGoing bool
	push      bool
	pull      bool
	replace   bool
	json      bool
}

func newRealize(a *app) *cobra.Command {
	var o realizeOptions
	cmd := &cobra.Command{
		Use:   "realize RELEASE",
		Short: "Make every artifact of a release exist",
		Long: `realize makes every artifact of a release exist in the store and, with --push, in rpc-repo.
What exists in either is not built. A release without a lock is locked first.`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: a.completeRelease,
		RunE:              func(cmd *cobra.Command, args []string) error { return o.run(cmd.Context(), a, args) },
	}
	flags := cmd.Flags()
	o.engineOptions.flags(flags)
	o.keyOptions.flags(flags, true)
	onlyFlag(flags, &o.only)
	flags.BoolVar(&o.offline, "offline", false, "fetch nothing, from upstreams or from rpc-repo")
	flags.BoolVar(&o.keepGoing, "keep-going", false, "after a failure, build what can be built")
	flags.BoolVar(&o.push, "push", false, "publish to the first --repo")
	flags.BoolVar(&o.pull, "pull", true, "take from --repo what it has")
	flags.BoolVar(&o.replace, "replace", false, "publish in place of other content that rpc-repo has")
	jsonFlag(flags, &o.json)
	return cmd
}

func (o *realizeOptions) run(ctx context.Context, a *app, args []string) error {
	rel, s, err := a.openRelease(args, o.push)
	if err != nil {
		return err
	}
	defer s.close()
	r := &realizing{realizeOptions: o, session: s, release: rel, start: time.Now()}
	if r.engine, err = o.engine(s); err != nil {
		return err
	}
	if o.json {
		r.lines = newJSONLines(a.out)
	}
	r.reporter = newReporter(rel.Name, a.streams, r.lines)
	r.engine.Events = r.reporter.event
	err = r.all(ctx)
	r.reporter.close()
	return r.finish(err)
}

func (o *realizeOptions) engine(s *session) (*derive.Engine, error) {
	if o.push {
		if err := s.wantRepo(); err != nil {
			return nil, err
		}
	}
	if err := s.wantKey(o.push); err != nil {
		return nil, err
	}
	if o.pull && !o.offline {
		s.tellTrust()
	}
	e := s.engine()
	e.Offline, e.KeepGoing = o.offline, o.keepGoing
	if !o.pull {
		e.Substituters = nil
	}
	return e, o.apply(e)
}

// realizing is one run of realize.
type realizing struct {
	*realizeOptions
	*session
	release  *recipes.Release
	engine   *derive.Engine
	reporter *reporter
	lines    *jsonLines // nil: for people
	start    time.Time
	pushed   cache.PushStats
}

func (r *realizing) all(ctx context.Context) error {
	if r.release.Lock == nil {
		if err := r.lockFirst(ctx); err != nil {
			return err
		}
	}
	g, err := r.graph(r.release, r.only...)
	if err != nil {
		return err
	}
	r.reporter.expect(g)
	result, err := r.engine.Realize(ctx, g)
	if err == nil {
		err = r.keep(ctx, g, result)
	}
	if err != nil || !r.push {
		return err
	}
	p := &pushing{session: r.session, release: r.release, replace: r.replace, signer: r.signer(r.keyOptions, r.release.Lock)}
	r.pushed, err = p.run(ctx, itemsOf(g, result), r.reporter.transfer)
	return err
}

// keep writes down what the release is made of, so that gc leaves it.
func (r *realizing) keep(ctx context.Context, g *derive.Graph, result *derive.Result) error {
	lock, err := r.release.Lock.Encode()
	if err != nil {
		return err
	}
	root := store.Root{Release: r.release.Name, Lock: digest.FromBytes(lock), Time: time.Now()}
	for _, n := range g.Nodes {
		if done := result.Nodes[n]; !done.Artifact.IsZero() {
			root.Items = append(root.Items, store.RootItem{Name: n.Name, Drv: done.Drv, Artifact: done.Artifact})
		}
	}
	return r.store.AddRoot(ctx, root)
}

// lockFirst makes the lock of a release that has none.
func (r *realizing) lockFirst(ctx context.Context) error {
	if r.offline {
		return usageErrorf("release %s has no lock, and --offline forbids to make it (rpcbuild lock %s makes it)", r.release.Name, r.release.Name)
	}
	fmt.Fprintf(r.err, "locking %s, which has no lock yet\n", r.release.Name)
	changes, err := r.session.lock(ctx, r.release, r.engine, r.keyOptions, nil)
	if err != nil {
		return err
	}
	fmt.Fprintf(r.err, "wrote %s: %s\n", r.release.LockPath, countChanges(changes))
	return nil
}

// itemsOf lists what the derivations of a realized graph gave, inputs first. Fetches are not rpc-repo's to keep.
func itemsOf(g *derive.Graph, result *derive.Result) []cache.Item {
	var items []cache.Item
	for _, n := range g.Nodes {
		if done := result.Nodes[n]; n.Kind != derive.FetchKind && !done.Artifact.IsZero() {
			items = append(items, cache.Item{Name: n.Name, Kind: n.Kind, Drv: done.Drv, Artifact: done.Artifact})
		}
	}
	return items
}

// jsonRealized is the last line of realize.
type jsonRealized struct {
	Event           string  `json:"event"`
	Release         string  `json:"release"`
	Built           int     `json:"built"`
	Fetched         int     `json:"fetched"`
	Reused          int     `json:"reused"`
	Failed          int     `json:"failed"`
	Skipped         int     `json:"skipped"`
	Seconds         float64 `json:"seconds"`
	DownloadedBytes int64   `json:"downloaded_bytes"`
	UploadedBytes   int64   `json:"uploaded_bytes"`
}

// finish prints the summary and returns the error to end with: what no event told of, or how much
// failed.
func (r *realizing) finish(err error) error {
	act := r.reporter.act
	c := act.total()
	table := r.out
	if r.lines != nil {
		table = r.err
		r.lines.write(jsonRealized{
			Event: "summary", Release: r.release.Name,
			Built: c[derive.Built], Fetched: c[derive.Fetched], Reused: c[derive.Reused],
			Failed: c[derive.Failed], Skipped: c[derive.Skipped], Seconds: milliseconds(time.Since(r.start).Seconds()),
			DownloadedBytes: act.downloaded(), UploadedBytes: r.pushed.Bytes,
		})
		err = firstError(err, r.lines.err)
	}
	if len(act.outcomes) > 0 && !isInterrupt(err) {
		err = firstError(err, act.writeTable(table))
	}
	if err == nil && r.push {
		fmt.Fprintf(table, "pushed to %s: %s\n", r.repos[0], pushSentence(r.pushed))
	}
	return r.reporter.conclude("realize "+r.release.Name, err)
}
