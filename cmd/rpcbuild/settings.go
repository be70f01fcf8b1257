package main

import (
	"fmt"
	"strings"

	"github.com/spf13/pflag"
)

// A flag that is not on the command line is set from the environment as RPCBUILD_ and its name;
// then from the variable that CI jobs of the original set for it; then from the configuration
// files. A variable that is empty counts as not there.

// originalNames are the original's variables, by the flag that they stand for.
func originalNames() map[string]string {
	return map[string]string{
		"gpg-private":      "GPG_PRIVATE",
		"gpg-public":       "GPG_PUBLIC",
		"pull":             "PULL_FROM_MIRROR",
		"push":             "PUSH_TO_MIRROR",
		"replace":          "REPLACE_ARTIFACTS",
		"repo":             "HOST_RCBOPS_REPO",
		"repo-host":        "REPO_HOST",
		"repo-host-pubkey": "REPO_HOST_PUBKEY",
		"repo-user":        "REPO_USER",
		"repo-user-key":    "REPO_USER_KEY",
		"store":            "RPC_ARTIFACTS_FOLDER",
	}
}

// releaseVariables name the release where no argument does.
func releaseVariables() []string { return []string{"RPCBUILD_RELEASE", "RPC_RELEASE"} }

// variables returns the environment variables that stand for a flag, the strongest first.
func variables(flag string) []string {
	names := []string{"RPCBUILD_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))}
	if original, ok := originalNames()[flag]; ok {
		names = append(names, original)
	}
	return names
}

// applyEnvironment sets the flags that are not on the command line and are in the environment, and
// returns the names of those that are still to be set.
func applyEnvironment(flags *pflag.FlagSet, env func(string) string) (left []string, err error) {
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Changed || err != nil {
			return
		}
		for _, name := range variables(f.Name) {
			if value := env(name); value != "" {
				err = setFromEnvironment(f, name, value)
				return
			}
		}
		left = append(left, f.Name)
	})
	return left, err
}

func setFromEnvironment(f *pflag.Flag, name, value string) error {
	values := []string{value}
	switch f.Value.Type() {
	case "bool":
		yes, err := yesNo(value)
		if err != nil {
			return usageErrorf("%s=%s: %v", name, value, err)
		}
		values = []string{fmt.Sprint(yes)}
	case "stringArray":
		values = strings.Fields(value)
	}
	return setFlag(f, name+"="+value, values)
}

// applyConfig sets the named flags from the configuration files, the strongest first.
func applyConfig(flags *pflag.FlagSet, names []string, files []*configFile) error {
	for _, name := range names {
		for _, file := range files {
			if values := file.values(name); len(values) > 0 {
				if err := setFlag(flags.Lookup(name), file.name, values); err != nil {
					return err
				}
				break
			}
		}
	}
	return nil
}

// setFlag sets a flag from a place that the error names.
func setFlag(f *pflag.Flag, from string, values []string) error {
	for _, v := range values {
		if err := f.Value.Set(v); err != nil {
			return usageErrorf("%s: %v", from, err)
		}
	}
	return nil
}

// yesNo reads a boolean of the environment.
func yesNo(s string) (bool, error) {
	switch strings.ToUpper(s) {
	case "YES":
		return true, nil
	case "NO":
		return false, nil
	default:
		return false, fmt.Errorf("want YES or NO")
	}
}
