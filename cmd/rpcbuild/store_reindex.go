package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
)

func newStoreReindex(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "reindex",
		Short: "Make the store's index anew from what is there",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return a.reindexStore(cmd.Context(), asJSON) },
	}
	jsonFlag(cmd.Flags(), &asJSON)
	return cmd
}

// jsonReindexed is the only line of store reindex.
type jsonReindexed struct {
	Event        string `json:"event"`
	Artifacts    int    `json:"artifacts"`
	Realisations int    `json:"realisations"`
	Damaged      int    `json:"damaged"`
}

func (a *app) reindexStore(ctx context.Context, asJSON bool) error {
	s, err := a.openStore()
	if err != nil {
		return err
	}
	defer s.Close()
	r, err := s.Reindex(ctx)
	if err != nil {
		return err
	}
	if asJSON {
		j := newJSONLines(a.out)
		j.write(jsonReindexed{"summary", r.Artifacts, r.Realisations, r.Damaged})
		return j.err
	}
	if r.Damaged > 0 {
		fmt.Fprintf(a.err, "%s could not be read (rpcbuild store verify names them)\n", count(r.Damaged, "object"))
	}
	_, err = fmt.Fprintf(a.out, "indexed %s and %s\n", count(r.Artifacts, "artifact"), count(r.Realisations, "realisation"))
	return err
}
