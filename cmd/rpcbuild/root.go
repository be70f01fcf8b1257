package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/rcbops/rpcbuild/recipes"
	"github.com/rcbops/rpcbuild/recipes/spec"
)

// An app is one run of the program: what it has from the outside, and what every verb shares.
type app struct {
	streams
	host

	config      string // names a configuration file
	storeFolder string
	repoURLs    []string
	recipes     string
	upstreams   map[string]string
	timeout     time.Duration // of upstreams; 0 for the default
	signing     signingOptions

	started bool // a verb runs: what went wrong before is the command line's fault
}

// run runs the program and returns its exit status.
func run(args []string, s streams, h host) int {
	ctx, stop := interruptible(context.Background(), s.err)
	defer stop()
	a := &app{streams: s, host: h}
	root := newRoot(a)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err != nil && !a.started {
		err = usageError{err}
	}
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = cause
	}
	printError(s.err, err)
	return exitCode(err)
}

func newRoot(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "rpcbuild",
		Short: "Build the artifacts of a release, reproducibly, and publish them",
		Long: `rpcbuild turns a release's definition and lock into apt repositories, git archives, wheels, virtual
environments and container images. What exists, in the store or in rpc-repo, is not built again.

A flag that is not given is taken from the environment (RPCBUILD_STORE for --store, and so on), then
from the variables that jobs of the original set (PUSH_TO_MIRROR, REPLACE_ARTIFACTS, HOST_RCBOPS_REPO,
PULL_FROM_MIRROR, RPC_ARTIFACTS_FOLDER, RPC_RELEASE, GPG_PRIVATE, GPG_PUBLIC), then from the
configuration: the user's own, rpcbuild/config.yaml in $XDG_CONFIG_HOME or ~/.config, before
` + systemConfig + `. Booleans in the environment are YES or NO.

Exit status: 0 done; 1 a build or an operation failed; 2 usage, or a definition that does not parse;
3 verify: something is missing; 4 something is wrong; 5 rpc-repo could not be reached; 130 interrupted.`,
		Version:           version(),
		SilenceErrors:     true,
		SilenceUsage:      true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error { return a.start(cmd.Flags()) },
	}
	root.SetOut(a.out)
	root.SetErr(a.err)
	root.SetVersionTemplate("rpcbuild {{.Version}}\n")
	flags := root.PersistentFlags()
	flags.StringVar(&a.config, "config", "", "`file` to read instead of the two configuration files")
	flags.StringVar(&a.storeFolder, "store", a.storeDir(), "`folder` of this machine's artifacts")
	flags.StringArrayVar(&a.repoURLs, "repo", nil, "`URL` or folder of an rpc-repo; repeatable: the first is written to, all are read")
	flags.StringVar(&a.recipes, "recipes", "recipes", "`folder` with the release definitions")
	a.signing.flags(flags)
	root.AddCommand(
		newRealize(a), newVerify(a), newPlan(a), newLock(a), newReleases(a), newShow(a), newLog(a),
		newPush(a), newPull(a), newServe(a), newRepo(a), newStore(a), newKey(a), newVersion(a), newBuild(a), newSandbox(a),
	)
	return root
}

// start completes the flags of the verb that was asked for.
func (a *app) start(flags *pflag.FlagSet) error {
	left, err := applyEnvironment(flags, a.env)
	if err != nil {
		return err
	}
	files, err := readConfig(a.config, a.host)
	if err != nil {
		return err
	}
	if err := applyConfig(flags, left, files); err != nil {
		return err
	}
	a.upstreams, a.timeout = upstreams(files), timeout(files)
	a.started = true
	return nil
}

// releaseName returns the release that the first argument names, or else the environment.
func (a *app) releaseName(args []string) (string, error) {
	if len(args) > 0 {
		return args[0], nil
	}
	for _, name := range releaseVariables() {
		if value := a.env(name); value != "" {
			return value, nil
		}
	}
	known, err := recipes.List(a.recipes)
	if err != nil {
		return "", err
	}
	return "", usageErrorf("which release? name it as an argument or in RPCBUILD_RELEASE (%s)", spec.Suggest("", known))
}

// load reads the release that args or the environment name.
func (a *app) load(args []string) (*recipes.Release, error) {
	name, err := a.releaseName(args)
	if err != nil {
		return nil, err
	}
	return recipes.Load(a.recipes, name)
}

// completeRelease completes a RELEASE argument in shells.
func (a *app) completeRelease(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	if err := a.start(cmd.Flags()); err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	names, err := recipes.List(a.recipes)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

func newVersion(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintln(a.out, "rpcbuild", version())
			return err
		},
	}
}
