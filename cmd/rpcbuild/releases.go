package main

import (
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/rcbops/rpcbuild/recipes"
)

func newReleases(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "releases",
		Short: "List the releases that are defined",
		Args:  cobra.NoArgs,
		RunE:  func(*cobra.Command, []string) error { return a.listReleases(asJSON) },
	}
	jsonFlag(cmd.Flags(), &asJSON)
	return cmd
}

// jsonRelease is a line of releases.
type jsonRelease struct {
	Name         string `json:"name"`
	Distribution string `json:"distribution"`
	Locked       bool   `json:"locked"`
	Error        string `json:"error,omitempty"` // it cannot be read
}

// listReleases lists all of them, also what cannot be read, which is the first error.
func (a *app) listReleases(asJSON bool) error {
	names, err := recipes.List(a.recipes)
	if err != nil {
		return err
	}
	lines := newJSONLines(a.out)
	table := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	var first error
	for _, name := range names {
		r := jsonRelease{Name: name}
		rel, err := recipes.Load(a.recipes, name)
		if err != nil {
			r.Error = err.Error()
			first = firstError(first, err)
		} else {
			r.Distribution, r.Locked = rel.Definition.Distribution.Platform(), rel.Lock != nil
		}
		if asJSON {
			lines.write(r)
			continue
		}
		fmt.Fprintf(table, "%s\t%s\t%s\n", r.Name, r.Distribution, r.state())
	}
	return firstError(first, lines.err, table.Flush())
}

func (r jsonRelease) state() string {
	switch {
	case r.Error != "":
		return "cannot be read"
	case r.Locked:
		return "locked"
	default:
		return "not locked"
	}
}
