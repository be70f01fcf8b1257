package main

import (
	"context"

	"github.com/spf13/pflag"

	"github.com/rcbops/rpcbuild/recipes"
)

// replaceOptions are the flags of verbs that may replace what is published.
type replaceOptions struct {
	replace   bool
	candidate string
}

func (o *replaceOptions) flags(flags *pflag.FlagSet) {
	flags.BoolVar(&o.replace, "replace", false, "publish in place of other content that rpc-repo has")
	flags.StringVar(&o.candidate, "release-candidate", "", "`branch` of the recipes: a release that it holds is not replaced")
}

// check refuses to replace what a release-candidate branch holds. It is exit status 2: what is
// published is all right, and so is the release; it is the wish that cannot be granted.
func (o *replaceOptions) check(ctx context.Context, rel *recipes.Release) error {
	if !o.replace {
		return nil
	}
	if err := rel.CheckReplace(ctx, o.candidate); err != nil {
		return usageError{err}
	}
	return nil
}
