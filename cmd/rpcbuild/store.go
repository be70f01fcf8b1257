package main

import (
	"fmt"
	"os"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/rcbops/rpcbuild/store"
)

func newStore(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "store",
		Short: "Look after this machine's store",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return usageErrorf("store: what? (rpcbuild store --help lists the verbs)")
		},
	}
	cmd.AddCommand(
		newStoreGC(a), newStoreVerify(a), newStoreRepair(a), newStoreReindex(a), newStoreStats(a),
		newStoreRoots(a), newStorePin(a), newStoreUnpin(a), newStoreAdd(a),
	)
	return cmd
}

// wantStore refuses a folder that is not there: what is looked after is not made by that.
func (a *app) wantStore() error {
	if _, err := os.Stat(a.storeFolder); err != nil {
		return usageErrorf("open store: %w (--store names the folder)", err)
	}
	return nil
}

// openStore opens the store alone, which must be there. The caller closes it.
func (a *app) openStore() (*store.Store, error) {
	if err := a.wantStore(); err != nil {
		return nil, err
	}
	return store.Open(a.storeFolder)
}

// jsonAmount is a line of gc and of stats.
type jsonAmount struct {
	Event string `json:"event"`
	What  string `json:"what"`
	Count int    `json:"count"`
	Bytes int64  `json:"bytes"`
}

// table prints rows of columns for people.
func (a *app) table(rows func(row func(columns ...any))) error {
	tw := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	rows(func(columns ...any) {
		for i, c := range columns {
			if i > 0 {
				fmt.Fprint(tw, "\t")
			}
			fmt.Fprint(tw, c)
		}
		fmt.Fprintln(tw)
	})
	return tw.Flush()
}

// rootName says which root is meant.
func rootName(r store.Root) string {
	if r.Pin != "" {
		return "pin " + r.Pin
	}
	return "release " + r.Release
}
