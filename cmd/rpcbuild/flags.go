package main

import (
	"github.com/spf13/pflag"

	"github.com/rcbops/rpcbuild/derive"
	"github.com/rcbops/rpcbuild/store"
)

// engineOptions are the flags of verbs that build.
type engineOptions struct {
	jobs       int
	keepFailed bool
	builder    string
}

func (o *engineOptions) flags(flags *pflag.FlagSet) {
	flags.IntVar(&o.jobs, "jobs", 0, "`number` of builds side by side (default: one a processor)")
	flags.BoolVar(&o.keepFailed, "keep-failed", false, "keep the folder of a failed build, to look into it")
	flags.StringVar(&o.builder, "builder", "", "`name` of this machine in what it says of its builds (default: its host name)")
}

// apply sets an engine's fields.
func (o *engineOptions) apply(e *derive.Engine) error {
	if o.jobs < 0 {
		return usageErrorf("--jobs %d: want a positive number", o.jobs)
	}
	if err := store.CheckWords(o.builder); err != nil {
		return usageErrorf("--builder: %w", err)
	}
	e.Jobs, e.KeepFailed = o.jobs, o.keepFailed
	if o.builder != "" {
		e.Builder = o.builder
	}
	return nil
}

// jsonFlag adds the flag that asks for JSON on standard output.
func jsonFlag(flags *pflag.FlagSet, v *bool) {
	flags.BoolVar(v, "json", false, "print one JSON object a line")
}

// onlyFlag adds the flag that chooses stages.
func onlyFlag(flags *pflag.FlagSet, v *[]string) {
	flags.StringSliceVar(v, "only", nil, "`stages` whose artifacts are wanted: apt, git, python, container")
}
