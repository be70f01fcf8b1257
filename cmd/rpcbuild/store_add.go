package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/rcbops/rpcbuild/store"
)

func newStoreAdd(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "add DIR",
		Short: "Copy a folder into the store as an artifact, and print its id",
		Args:  cobra.ExactArgs(1),
		RunE:  func(cmd *cobra.Command, args []string) error { return a.addToStore(cmd.Context(), args[0]) },
	}
}

func (a *app) addToStore(ctx context.Context, dir string) error {
	s, err := store.Open(a.storeFolder)
	if err != nil {
		return err
	}
	defer s.Close()
	id, err := s.AddFolder(ctx, dir)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(a.out, id)
	return err
}
