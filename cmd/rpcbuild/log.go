package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/rcbops/rpcbuild/store"
)

func newLog(a *app) *cobra.Command {
	return &cobra.Command{
		Use:               "log RELEASE NAME | log DERIVATION",
		Short:             "Print the log of the last build of a derivation",
		Args:              cobra.RangeArgs(1, 2),
		ValidArgsFunction: a.completeRelease,
		RunE:              func(cmd *cobra.Command, args []string) error { return a.printLog(cmd.Context(), args) },
	}
}

func (a *app) printLog(ctx context.Context, args []string) error {
	s, drv, err := a.findDerivation(ctx, args)
	if err != nil {
		return err
	}
	defer s.close()
	f, err := s.store.OpenLog(drv)
	if errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("%w (it was not built here)", err)
	}
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(a.out, f)
	return err
}

// findDerivation returns the derivation that is meant, by its id or by its name in a release. The
// caller closes the session.
func (a *app) findDerivation(ctx context.Context, args []string) (*session, store.DrvID, error) {
	if len(args) == 1 {
		if drv, err := store.ParseDrvID(args[0]); err == nil {
			s, err := a.open(false)
			return s, drv, err
		}
		release, err := a.releaseName(nil)
		if err != nil {
			return nil, store.DrvID{}, usageErrorf("%q is not a derivation's id: name RELEASE and NAME, or all 64 digits", args[0])
		}
		args = []string{release, args[0]}
	}
	s, steps, err := a.lookUp(ctx, args, nil)
	if err != nil {
		return nil, store.DrvID{}, err
	}
	step, err := findStep(steps, args[1])
	if err == nil && step.Drv.IsZero() {
		err = fmt.Errorf("%s has no derivation yet: %s", args[1], step.Because)
	}
	if err != nil {
		s.close()
		return nil, store.DrvID{}, err
	}
	return s, step.Drv, nil
}
