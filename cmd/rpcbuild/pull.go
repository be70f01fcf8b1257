package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"

	"github.com/rcbops/rpcbuild/cache"
	"github.com/rcbops/rpcbuild/store"
)

type pullOptions struct{ json bool }

func newPull(a *app) *cobra.Command {
	var o pullOptions
	cmd := &cobra.Command{
		Use:   "pull RELEASE",
		Short: "Bring a release from rpc-repo into the store",
		Long: `pull brings all artifacts of a release, as rpc-repo lists them, into the store. The first --repo that
has the release gives it.`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: a.completeRelease,
		RunE:              func(cmd *cobra.Command, args []string) error { return o.run(cmd.Context(), a, args) },
	}
	jsonFlag(cmd.Flags(), &o.json)
	return cmd
}

func (o *pullOptions) run(ctx context.Context, a *app, args []string) error {
	name, err := a.releaseName(args)
	if err != nil {
		return err
	}
	s, err := a.open(false)
	if err != nil {
		return err
	}
	defer s.close()
	if err := s.wantRepo(); err != nil {
		return err
	}
	s.tellTrust()
	from, rel, err := s.findRelease(ctx, name)
	if err != nil {
		return fmt.Errorf("pull: %w", err)
	}
	s.compareLock(rel)
	r := newReporter(name, a.streams, nil)
	stats, err := from.Pull(ctx, s.store, rel, r.transfer("from "+from.String()))
	r.close()
	if err == nil {
		err = s.keepPulled(ctx, rel)
	}
	if err != nil {
		return err
	}
	if o.json {
		j := newJSONLines(a.out)
		j.write(jsonCopied{"summary", name, stats.Artifacts, stats.Present, stats.Bytes})
		return j.err
	}
	_, err = fmt.Fprintf(a.out, "pulled %s from %s: %s new (%s), %d there already\n",
		name, from, count(stats.Artifacts, "artifact"), formatBytes(stats.Bytes), stats.Present)
	return err
}

// keepPulled writes down what a release is made of, so that gc leaves it.
func (s *session) keepPulled(ctx context.Context, rel cache.Release) error {
	root := store.Root{Release: rel.Name, Lock: digest.FromBytes(rel.Lock), Time: time.Now()}
	for _, it := range rel.Items {
		root.Items = append(root.Items, store.RootItem{Name: it.Name, Drv: it.Drv, Artifact: it.Artifact})
	}
	return s.store.AddRoot(ctx, root)
}

// findRelease returns the first repo that has the release, or the first error.
func (s *session) findRelease(ctx context.Context, name string) (*cache.Repo, cache.Release, error) {
	var first error
	for _, r := range s.repos {
		rel, err := r.Release(ctx, name)
		if err == nil {
			return r, rel, nil
		}
		first = firstError(first, err)
	}
	return nil, cache.Release{}, first
}

// compareLock warns where the recipes have another lock of the release: what is pulled is then not
// what realize would look for.
func (s *session) compareLock(rel cache.Release) {
	mine, err := s.load([]string{rel.Name})
	if err != nil || mine.Lock == nil {
		return
	}
	if text, err := os.ReadFile(mine.LockPath); err == nil && !bytes.Equal(text, rel.Lock) {
		fmt.Fprintf(s.err, "rpcbuild: warning: rpc-repo's lock of %s is not %s\n", rel.Name, mine.LockPath)
	}
}
