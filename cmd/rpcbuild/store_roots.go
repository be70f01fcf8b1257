package main

import (
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"
)

func newStoreRoots(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "roots",
		Short: "List what gc keeps: releases as they were realized, and pins",
		Args:  cobra.NoArgs,
		RunE:  func(*cobra.Command, []string) error { return a.listRoots(asJSON) },
	}
	jsonFlag(cmd.Flags(), &asJSON)
	return cmd
}

// jsonRoot is a line of store roots.
type jsonRoot struct {
	Release   string        `json:"release"`
	Pin       string        `json:"pin"`
	Time      time.Time     `json:"time"`
	Lock      digest.Digest `json:"lock"`
	Artifacts int           `json:"artifacts"`
	Path      string        `json:"path"`
}

func (a *app) listRoots(asJSON bool) error {
	s, err := a.openStore()
	if err != nil {
		return err
	}
	defer s.Close()
	roots, err := s.Roots()
	if err != nil {
		return err
	}
	if asJSON {
		j := newJSONLines(a.out)
		for _, r := range roots {
			j.write(jsonRoot{r.Release, r.Pin, r.Time, r.Lock, len(r.Items), r.Path})
		}
		return j.err
	}
	return a.table(func(row func(...any)) {
		for _, r := range roots {
			row(rootName(r), r.Time.Format(time.RFC3339), count(len(r.Items), "artifact"))
		}
	})
}
