package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/rcbops/rpcbuild/cache"
	"github.com/rcbops/rpcbuild/derive"
	"github.com/rcbops/rpcbuild/recipes"
	"github.com/rcbops/rpcbuild/store"
)

type pushOptions struct {
	keyOptions
	replaceOptions
	only []string
	json bool
}

func newPush(a *app) *cobra.Command {
	var o pushOptions
	cmd := &cobra.Command{
		Use:   "push RELEASE",
		Short: "Publish a realized release to rpc-repo",
		Long: `push publishes what the store has of a release to the first --repo (a folder, sftp:// or
s3://), or else to --repo-host. What is there is not copied again; a push that was interrupted is carried on by the next one.

--replace publishes in place of other content, unless the recipes have a release-candidate branch (release_candidate
in the definition or in the configuration) that holds the same release: that is refused, with
exit status 2.`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: a.completeRelease,
		RunE:              func(cmd *cobra.Command, args []string) error { return o.run(cmd.Context(), a, args) },
	}
	flags := cmd.Flags()
	o.keyOptions.flags(flags, false)
	onlyFlag(flags, &o.only)
	o.replaceOptions.flags(flags)
	jsonFlag(flags, &o.json)
	return cmd
}

func (o *pushOptions) run(ctx context.Context, a *app, args []string) error {
	rel, s, err := a.openRelease(args, true)
	if err != nil {
		return err
	}
	defer s.close()
	if err := firstError(s.wantRepo(), s.wantKey(true)); err != nil {
		return err
	}
	g, err := s.graph(rel, o.only...)
	if err != nil {
		return err
	}
	if err := o.check(ctx, rel); err != nil {
		return err
	}
	items, err := plannedItems(ctx, s.engine(), g)
	if err != nil {
		return fmt.Errorf("push release %s: %w", rel.Name, err)
	}
	r := newReporter(rel.Name, a.streams, nil)
	p := &pushing{session: s, release: rel, replace: o.replace, signer: a.signer(o.keyOptions, rel.Lock)}
	stats, err := p.run(ctx, items, r.transfer)
	r.close()
	if err != nil {
		return err
	}
	if o.json {
		j := newJSONLines(a.out)
		j.write(jsonCopied{"summary", rel.Name, stats.Artifacts, stats.Present, stats.Bytes})
		return j.err
	}
	_, err = fmt.Fprintf(a.out, "pushed %s to %s: %s\n", rel.Name, s.repos[0], pushSentence(stats))
	return err
}

// jsonCopied is the only line of push and of pull.
type jsonCopied struct {
	Event     string `json:"event"`
	Release   string `json:"release"`
	Artifacts int    `json:"artifacts"` // that were copied
	Present   int    `json:"present"`   // that were there already
	Bytes     int64  `json:"bytes"`
}

func pushSentence(s cache.PushStats) string {
	return fmt.Sprintf("%s new (%s, %s), %d there already",
		count(s.Artifacts, "artifact"), count(s.Files, "file"), formatBytes(s.Bytes), s.Present)
}

// plannedItems lists what the derivations of a graph are known to have given, and refuses a graph
// that is not realized.
func plannedItems(ctx context.Context, e *derive.Engine, g *derive.Graph) ([]cache.Item, error) {
	steps, err := e.Plan(ctx, g)
	if err != nil {
		return nil, err
	}
	var items []cache.Item
	for _, s := range steps {
		switch {
		case s.Node.Kind == derive.FetchKind:
		case s.Action == derive.BuildIt:
			return nil, fmt.Errorf("%s does not exist: %s (realize makes it)", s.Node.Name, s.Because)
		default:
			items = append(items, cache.Item{Name: s.Node.Name, Kind: s.Node.Kind, Drv: s.Drv, Artifact: s.Artifact})
		}
	}
	return items, nil
}

// wantRepo refuses a session that has no repo to write to.
func (s *session) wantRepo() error {
	if len(s.repos) == 0 {
		return usageErrorf("no rpc-repo is named (--repo names one, a folder or a URL)")
	}
	return nil
}

// pushing publishes items to the first repo.
type pushing struct {
	*session
	release *recipes.Release
	replace bool
	signer  cache.Signer
}

func (p *pushing) run(ctx context.Context, items []cache.Item, transfer func(string) func(int64)) (stats cache.PushStats, err error) {
	lock, err := p.release.Lock.Encode()
	if err != nil {
		return stats, err
	}
	opts := p.cacheOptions()
	opts.Create, opts.Signer = true, p.signer
	to, err := cache.Open(p.repoURLs[0], opts)
	if err != nil {
		return stats, err
	}
	defer func() { err = errors.Join(err, to.Close()) }()
	if err := p.complete(ctx, to, items); err != nil {
		return stats, fmt.Errorf("push release %s: %w", p.release.Name, err)
	}
	return to.Push(ctx, p.store, cache.Release{Name: p.release.Name, Lock: lock, Items: items},
		cache.PushOptions{Replace: p.replace, Waiting: p.tellWaiting, Progress: transfer("to " + to.String())})
}

// complete brings over, from the other repos, what neither the store nor the first one has: a node
// that was only known by name while something above it existed.
func (p *pushing) complete(ctx context.Context, to *cache.Repo, items []cache.Item) error {
	ids := make([]store.ArtifactID, len(items))
	for i, it := range items {
		ids[i] = it.Artifact
	}
	has, err := p.store.HasAll(ids)
	if err != nil {
		return err
	}
	var absent []cache.Item
	for _, it := range items {
		if !has[it.Artifact] {
			absent = append(absent, it)
		}
	}
	if len(absent) == 0 || len(p.repos) == 1 {
		return nil
	}
	verdicts, err := to.Check(ctx, absent, false)
	if err != nil {
		return err
	}
	for _, v := range verdicts {
		if v.State == cache.Missing {
			if err := p.fetch(ctx, v.Item); err != nil {
				return err
			}
		}
	}
	return nil
}

func (p *pushing) fetch(ctx context.Context, it cache.Item) error {
	var errs []error
	for _, r := range p.repos[1:] {
		_, err := r.Fetch(ctx, it.Artifact, p.store, nil)
		if err == nil {
			return nil
		}
		errs = append(errs, err)
	}
	return fmt.Errorf("%s: %w", it.Name, errors.Join(errs...))
}
