package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/rcbops/rpcbuild/cache"
)

func newRepo(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "repo",
		Short: "Look after rpc-repo: gc, verify, repair",
		Args:  cobra.NoArgs,
		RunE:  func(*cobra.Command, []string) error { return usageErrorf("which: gc, verify or repair?") },
	}
	cmd.AddCommand(newRepoGC(a), newRepoVerify(a), newRepoRepair(a))
	return cmd
}

type repoGCOptions struct {
	keep    int
	maxSize byteSize
	grace   time.Duration
	dryRun  bool
	json    bool
}

func newRepoGC(a *app) *cobra.Command {
	var o repoGCOptions
	cmd := &cobra.Command{
		Use:   "gc",
		Short: "Remove from the first --repo what no release names",
		Long: `gc takes off the list what none of the last --keep locks of a release names. Its files stay for --grace, for
readers who have an older list; then a later gc removes them. A push of it meanwhile puts it back.

With --max-size, further locks lose their artifacts, the oldest first, until what stays on the list fits. The newest
one of each release stays: gc exits with 1 if that is too much.

Pushes and gc wait for each other; readers wait for nobody.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context(), a) },
	}
	flags := cmd.Flags()
	flags.IntVar(&o.keep, "keep", 3, "`number` of locks of a release that keep their artifacts, the newest first")
	flags.Var(&o.maxSize, "max-size", "`bytes` that the files may take which what stays needs, such as 200GiB")
	flags.DurationVar(&o.grace, "grace", 7*24*time.Hour, "`time` that files stay after they were taken off the list")
	flags.BoolVar(&o.dryRun, "dry-run", false, "say what would go, and change nothing")
	jsonFlag(flags, &o.json)
	return cmd
}

// jsonRepoCollected is the only line of repo gc.
type jsonRepoCollected struct {
	Event    string `json:"event"`
	Live     int    `json:"live"`
	OffList  int    `json:"off_list"` // now
	Waiting  int    `json:"waiting"`  // off the list since before
	Removed  int    `json:"removed"`
	Files    int    `json:"files"`
	Bytes    int64  `json:"bytes"`
	Releases int    `json:"releases"`
	Dropped  int    `json:"dropped"`        // locks, for --max-size
	Size     int64  `json:"size,omitempty"` // of what stays, with --max-size
	Over     int64  `json:"over"`           // what --max-size is missed by
}

func (o *repoGCOptions) run(ctx context.Context, a *app) error {
	if o.keep < 1 {
		return usageErrorf("--keep %d: want at least 1", o.keep)
	}
	s, err := a.openToWrite()
	if err != nil {
		return err
	}
	defer s.close()
	if err := s.wantRepo(); err != nil {
		return err
	}
	stats, err := s.repos[0].Collect(ctx, cache.CollectOptions{Keep: o.keep, MaxSize: int64(o.maxSize), Grace: o.grace, DryRun: o.dryRun, Waiting: s.tellWaiting})
	if err != nil {
		return err
	}
	if err := o.print(a, stats); err != nil {
		return err
	}
	if stats.Over > 0 {
		return fmt.Errorf("repo gc: %s more than --max-size stay, which the newest locks of %s need (give it more room)", formatBytes(stats.Over), count(stats.Releases, "release"))
	}
	return nil
}

func (o *repoGCOptions) print(a *app, stats cache.CollectStats) error {
	if o.json {
		j := newJSONLines(a.out)
		j.write(jsonRepoCollected{
			"summary", stats.Live, stats.Buried, stats.Waiting, stats.Removed, stats.Files, stats.Bytes, stats.Releases,
			stats.Dropped, stats.Size, stats.Over,
		})
		return j.err
	}
	would, size := "", ""
	if o.maxSize > 0 {
		size = fmt.Sprintf(", in %s without %s", formatBytes(stats.Size), count(stats.Dropped, "older lock"))
	}
	if o.dryRun {
		would = " (dry run: nothing was changed)"
	}
	_, err := fmt.Fprintf(a.out, "%s of %s stay%s; %d taken off the list now, %d before; %d removed: %s, %s%s\n",
		count(stats.Live, "artifact"), count(stats.Releases, "release"), size, stats.Buried, stats.Waiting, stats.Removed,
		count(stats.Files, "file"), formatBytes(stats.Bytes), would)
	return err
}

// tellWaiting tells whom a push or a gc waits for.
func (s *session) tellWaiting(l cache.Lease) {
	fmt.Fprintf(s.err, "waiting for %s\n", l)
}

type repoVerifyOptions struct{ json bool }

func newRepoVerify(a *app) *cobra.Command {
	var o repoVerifyOptions
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Read and verify every byte of the first --repo",
		Long: `verify reads all that is on the list of rpc-repo, and all that is published of it, and says what is missing
or wrong. It changes nothing. It exits with 4 if something is wrong, 3 if something is missing.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context(), a) },
	}
	jsonFlag(cmd.Flags(), &o.json)
	return cmd
}

func (o *repoVerifyOptions) run(ctx context.Context, a *app) error {
	s, err := a.open(false)
	if err != nil {
		return err
	}
	defer s.close()
	if err := s.wantRepo(); err != nil {
		return err
	}
	r := s.repos[0]
	items, err := r.Items(ctx)
	if err != nil {
		return err
	}
	checked, err := r.Check(ctx, items, true)
	if err != nil {
		return err
	}
	return o.report(a, r, checked)
}

func (o *repoVerifyOptions) report(a *app, r *cache.Repo, checked []cache.Verdict) error {
	sum := jsonVerified{Event: "summary", Release: r.String()}
	var bad []jsonVerdict
	for _, v := range checked {
		sum.add(v.State)
		if v.State != cache.Present || v.Reason != "" {
			bad = append(bad, jsonVerdict{Name: v.Item.Name, Kind: v.Item.Kind, Drv: v.Item.Drv, Artifact: v.Item.Artifact, State: v.State, Reason: v.Reason})
		}
	}
	return errors.Join(a.printVerdicts(bad, sum, o.json), sum.err())
}

type repoRepairOptions struct {
	keyOptions
	repoVerifyOptions
}

func newRepoRepair(a *app) *cobra.Command {
	var o repoRepairOptions
	cmd := &cobra.Command{
		Use:   "repair",
		Short: "Put back into the first --repo what is missing or wrong there",
		Long: `repair reads every byte, as verify does, and puts back from the store what is missing or wrong. What the store
does not have is told of: realize and push make it.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context(), a) },
	}
	o.keyOptions.flags(cmd.Flags(), false)
	jsonFlag(cmd.Flags(), &o.json)
	return cmd
}

func (o *repoRepairOptions) run(ctx context.Context, a *app) (err error) {
	s, err := a.openToWrite()
	if err != nil {
		return err
	}
	defer s.close()
	if err := s.wantRepo(); err != nil {
		return err
	}
	key, err := a.loadKey(o.keyOptions)
	var signer cache.Signer = key
	if err != nil {
		signer = absentKey{fmt.Errorf("%w (--gpg-private names the file)", err)}
	}
	opts := s.cacheOptions()
	opts.Signer = signer
	to, err := cache.Open(s.repoURLs[0], opts)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, to.Close()) }()
	verdicts, err := to.Repair(ctx, s.store, cache.PushOptions{Waiting: s.tellWaiting})
	if err != nil {
		return err
	}
	return o.report(a, to, verdicts)
}
