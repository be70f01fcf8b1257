package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/rcbops/rpcbuild/store"
)

func newStorePin(a *app) *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use:   "pin RELEASE | pin ARTIFACT",
		Short: "Keep a release as it was last realized, or an artifact, from gc",
		Args:  cobra.ExactArgs(1),
		RunE:  func(_ *cobra.Command, args []string) error { return a.pin(args[0], name) },
	}
	cmd.Flags().StringVar(&name, "name", "", "`name` of the pin (default: what is pinned)")
	return cmd
}

func newStoreUnpin(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "unpin NAME",
		Short: "End a pin",
		Args:  cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			s, err := a.openStore()
			if err != nil {
				return err
			}
			defer s.Close()
			return s.RemovePin(args[0])
		},
	}
}

func (a *app) pin(what, name string) error {
	s, err := a.openStore()
	if err != nil {
		return err
	}
	defer s.Close()
	if name == "" {
		name = what
	}
	root, err := rootOf(s, what)
	if err != nil {
		return fmt.Errorf("pin %s: %w", what, err)
	}
	if err := s.AddPin(name, root); err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.out, "pinned %s as %s\n", count(len(root.Items), "artifact"), name)
	return err
}

// rootOf returns the newest root of a release, or one of a single artifact.
func rootOf(s *store.Store, what string) (store.Root, error) {
	if id, err := store.ParseArtifactID(what); err == nil {
		has, err := s.Has(id)
		if err == nil && !has {
			err = fmt.Errorf("artifact %s: %w", id.Short(), store.ErrNotFound)
		}
		return store.Root{Time: time.Now(), Items: []store.RootItem{{Name: id.Short(), Artifact: id}}}, err
	}
	roots, err := s.Roots()
	if err != nil {
		return store.Root{}, err
	}
	var newest store.Root
	for _, r := range roots {
		if r.Pin == "" && r.Release == what {
			newest = r
		}
	}
	if newest.Release == "" {
		return newest, fmt.Errorf("%w: it was not realized here (store roots lists what was)", store.ErrNotFound)
	}
	return newest, nil
}
