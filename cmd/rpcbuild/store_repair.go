package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"

	"github.com/rcbops/rpcbuild/cache"
	"github.com/rcbops/rpcbuild/recipes"
	"github.com/rcbops/rpcbuild/store"
)

func newStoreRepair(a *app) *cobra.Command {
	var o storeRepairOptions
	cmd := &cobra.Command{
		Use:   "repair",
		Short: "Fetch or build again what is damaged in the store",
		Long: `repair verifies the store, takes out what is damaged, and brings it back: from the --repo that has it, or by
realizing the releases whose roots name it, if they are defined as they were. It exits with 1 if something is
gone; the next realize that needs it builds it.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context(), a) },
	}
	o.engineOptions.flags(cmd.Flags())
	jsonFlag(cmd.Flags(), &o.json)
	return cmd
}

type storeRepairOptions struct {
	engineOptions
	json bool
}

// jsonGone is a line of store repair: what could not be brought back.
type jsonGone struct {
	Event    string           `json:"event"`
	Name     string           `json:"name"` // in the release that names it, if one does
	Drv      store.DrvID      `json:"drv"`
	Artifact store.ArtifactID `json:"artifact"`
}

// jsonRepaired is the last line of store repair.
type jsonRepaired struct {
	Event   string `json:"event"`
	Damaged int    `json:"damaged"`
	Gone    int    `json:"gone"`
}

func (o *storeRepairOptions) run(ctx context.Context, a *app) error {
	if err := a.wantStore(); err != nil {
		return err
	}
	s, err := a.open(false)
	if err != nil {
		return err
	}
	defer s.close()
	r, err := s.store.Verify(ctx)
	if err != nil {
		return err
	}
	if err := a.printDamage(r.Damaged, o.json); err != nil {
		return err
	}
	lost, err := s.store.TakeOut(ctx, r.Damaged)
	if err != nil {
		return err
	}
	roots, err := s.store.Roots()
	if err != nil {
		return err
	}
	m := &mending{o, s, roots}
	if lost, err = m.fetch(ctx, lost); err == nil {
		lost, err = m.build(ctx, lost)
	}
	if err != nil {
		return err
	}
	return m.finish(len(r.Damaged), lost)
}

// mending brings back what was lost.
type mending struct {
	*storeRepairOptions
	*session
	roots []store.Root
}

// fetch asks every repo, and returns what is still lost.
func (m *mending) fetch(ctx context.Context, lost store.Lost) (store.Lost, error) {
	for _, r := range m.repos {
		for _, id := range lost.Artifacts {
			if _, err := r.Fetch(ctx, id, m.store, nil); err != nil && !m.passed(ctx, err) {
				return lost, err
			}
		}
		for _, it := range lost.Derivations {
			if it.Artifact.IsZero() {
				it.Artifact = m.artifactOf(it.Drv)
			}
			one := cache.Release{Items: []cache.Item{{Name: it.Drv.Short(), Drv: it.Drv, Artifact: it.Artifact}}}
			if it.Artifact.IsZero() {
				continue
			}
			if _, err := r.Pull(ctx, m.store, one, nil); err != nil && !m.passed(ctx, err) {
				return lost, err
			}
		}
		var err error
		if lost, err = m.store.Lacks(lost); err != nil {
			return lost, err
		}
	}
	return lost, nil
}

// passed tells of a repo that could not help, which is no reason to end.
func (m *mending) passed(ctx context.Context, err error) bool {
	if ctx.Err() != nil {
		return false
	}
	if !errors.Is(err, store.ErrNotFound) {
		fmt.Fprintf(m.err, "rpcbuild: warning: %v\n", err)
	}
	return true
}

// artifactOf returns what a derivation gave, by what is known of it here.
func (m *mending) artifactOf(drv store.DrvID) store.ArtifactID {
	known, err := m.store.Lookup([]store.DrvID{drv})
	if err == nil && len(known[drv]) > 0 {
		return known[drv][0]
	}
	return store.ArtifactID{}
}

// build realizes, of each release whose root names something lost, just that.
func (m *mending) build(ctx context.Context, lost store.Lost) (store.Lost, error) {
	for _, root := range m.roots {
		names := namesOf(root, lost)
		if len(names) == 0 {
			continue
		}
		rel, err := m.definition(root)
		if err != nil {
			fmt.Fprintf(m.err, "rpcbuild: warning: %s cannot be built again: %v\n", root.Release, err)
			continue
		}
		g, err := m.graph(rel, names...)
		if err != nil {
			return lost, err
		}
		e := m.engine()
		e.KeepGoing = true
		if err := m.apply(e); err != nil {
			return lost, err
		}
		r := newReporter("repair "+rel.Name, m.streams, nil)
		r.expect(g)
		e.Events = r.event
		_, err = e.Realize(ctx, g)
		r.close()
		if ctx.Err() != nil {
			return lost, ctx.Err()
		}
		if err := r.conclude("repair "+rel.Name, err); err != nil {
			printError(m.err, err)
		}
		drvs := make(map[store.DrvID]bool)
		for _, it := range lost.Derivations {
			drvs[it.Drv] = true
		}
		if err := e.Describe(ctx, g, drvs); err != nil {
			return lost, err
		}
		if lost, err = m.store.Lacks(lost); err != nil {
			return lost, err
		}
	}
	return lost, nil
}

// definition loads a root's release, if it is still as it was.
func (m *mending) definition(root store.Root) (*recipes.Release, error) {
	if root.Release == "" {
		return nil, fmt.Errorf("it is a pin of no release")
	}
	rel, err := m.load([]string{root.Release})
	if err != nil {
		return nil, err
	}
	if rel.Lock == nil {
		return nil, fmt.Errorf("it has no lock")
	}
	text, err := rel.Lock.Encode()
	if err == nil && digest.FromBytes(text) != root.Lock {
		err = fmt.Errorf("its lock is not the one that it was realized with")
	}
	return rel, err
}

// namesOf returns which of a root's items are lost.
func namesOf(root store.Root, lost store.Lost) []string {
	artifacts, drvs := make(map[store.ArtifactID]bool), make(map[store.DrvID]bool)
	for _, id := range lost.Artifacts {
		artifacts[id] = true
	}
	for _, it := range lost.Derivations {
		drvs[it.Drv] = true
	}
	var names []string
	for _, it := range root.Items {
		if artifacts[it.Artifact] || drvs[it.Drv] {
			names = append(names, it.Name)
		}
	}
	return names
}

func (m *mending) finish(damaged int, lost store.Lost) error {
	var gone []jsonGone
	for _, id := range lost.Artifacts {
		g := jsonGone{Event: "gone", Artifact: id}
		for _, root := range m.roots {
			for _, it := range root.Items {
				if it.Artifact == id {
					g.Name, g.Drv = it.Name, it.Drv
				}
			}
		}
		gone = append(gone, g)
	}
	for _, it := range lost.Derivations {
		gone = append(gone, jsonGone{Event: "gone", Drv: it.Drv, Artifact: it.Artifact})
	}
	j := newJSONLines(m.out)
	for _, g := range gone {
		if m.json {
			j.write(g)
			continue
		}
		fmt.Fprintf(m.out, "gone %s derivation %s artifact %s (the next realize that needs it makes it)\n", g.Name, shortOf(g.Drv), shortOf(g.Artifact))
	}
	if m.json {
		j.write(jsonRepaired{"summary", damaged, len(gone)})
	} else {
		fmt.Fprintf(m.out, "%s damaged, %d gone\n", count(damaged, "object"), len(gone))
	}
	if j.err == nil && len(gone) > 0 {
		return fmt.Errorf("repair store: %s gone (the next realize that needs them makes them)", count(len(gone), "object"))
	}
	return j.err
}
