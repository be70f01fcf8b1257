package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/rcbops/rpcbuild/store"
)

func newStoreStats(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "stats",
		Short: "Say what takes the room in the store, and what sharing saves",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return a.storeStats(cmd.Context(), asJSON) },
	}
	jsonFlag(cmd.Flags(), &asJSON)
	return cmd
}

// jsonKind is a line of store stats: the artifacts of a kind.
type jsonKind struct {
	Event     string `json:"event"`
	Kind      string `json:"kind"`
	Artifacts int    `json:"artifacts"`
	Bytes     int64  `json:"bytes"` // of each artifact
	Own       int64  `json:"own"`   // of content that no other kind has
}

// jsonStats is the last line of store stats.
type jsonStats struct {
	Event     string `json:"event"`
	Artifacts int    `json:"artifacts"`
	Logical   int64  `json:"logical"` // bytes of all artifacts, each by itself
	Blobs     int    `json:"blobs"`
	Bytes     int64  `json:"bytes"` // of the blobs
	Saved     int64  `json:"saved"` // by sharing
}

func (a *app) storeStats(ctx context.Context, asJSON bool) error {
	s, err := a.openStore()
	if err != nil {
		return err
	}
	defer s.Close()
	st, err := s.Stats(ctx)
	if err != nil {
		return err
	}
	if asJSON {
		return a.printStatsJSON(st)
	}
	return a.table(func(row func(...any)) {
		row("kind", "artifacts", "size", "own")
		for _, k := range st.Kinds {
			row(kindName(k.Kind), k.Artifacts, formatBytes(k.Logical), formatBytes(k.Own))
		}
		row("all", st.Logical.Count, formatBytes(st.Logical.Bytes), formatBytes(st.Blobs.Bytes))
		row()
		row("place", "", "disk")
		for _, p := range st.Places {
			row(p.What, "", formatBytes(p.Bytes))
		}
		row()
		row("garbage", "count", "disk")
		for _, g := range st.Garbage {
			row(g.What, g.Count, formatBytes(g.Bytes))
		}
		row()
		row("sharing saves", "", formatBytes(st.Logical.Bytes-st.Blobs.Bytes))
	})
}

// kindName names the kind of what was not built.
func kindName(kind string) string {
	if kind == "" {
		return "(fetched or added)"
	}
	return kind
}

func (a *app) printStatsJSON(st store.Stats) error {
	j := newJSONLines(a.out)
	for _, k := range st.Kinds {
		j.write(jsonKind{"kind", k.Kind, k.Artifacts, k.Logical, k.Own})
	}
	for _, p := range st.Places {
		j.write(jsonAmount{"place", p.What, p.Count, p.Bytes})
	}
	for _, g := range st.Garbage {
		j.write(jsonAmount{"garbage", g.What, g.Count, g.Bytes})
	}
	j.write(jsonStats{"summary", st.Logical.Count, st.Logical.Bytes, st.Blobs.Count, st.Blobs.Bytes, st.Logical.Bytes - st.Blobs.Bytes})
	return j.err
}
