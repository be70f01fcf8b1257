package main

import (
	"github.com/spf13/cobra"

	"github.com/rcbops/rpcbuild/derive"
	"github.com/rcbops/rpcbuild/derive/sandbox"
	"github.com/rcbops/rpcbuild/recipes"
)

// The verbs of this file are for rpcbuild itself: a build, and a container in it, is a process of
// its own. They have neither configuration nor environment.

func newBuild(a *app) *cobra.Command {
	return a.internal(&cobra.Command{
		Use: "build DIR", Short: "Run the build that lies in a folder",
		RunE: func(cmd *cobra.Command, args []string) error {
			err := derive.RunBuild(cmd.Context(), recipes.Kinds(), args[0], a.err)
			if err != nil {
				return reportedError{err} // into the log, which is standard error
			}
			return nil
		},
	})
}

func newSandbox(a *app) *cobra.Command {
	return a.internal(&cobra.Command{
		Use: "sandbox SPEC", Short: "Run a program in a container",
		RunE: func(_ *cobra.Command, args []string) error { return sandbox.Main(args[0]) },
	})
}

func (a *app) internal(cmd *cobra.Command) *cobra.Command {
	cmd.Hidden = true
	cmd.Args = cobra.ExactArgs(1)
	cmd.PersistentPreRunE = func(*cobra.Command, []string) error {
		a.started = true
		return nil
	}
	return cmd
}
