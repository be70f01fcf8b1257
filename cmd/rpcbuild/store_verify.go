package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/rcbops/rpcbuild/store"
)

func newStoreVerify(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Read everything in the store and say what is damaged",
		Long: `verify reads and checks every byte of content, manifests, derivations, statements and roots, and the index
against them. It changes nothing. It exits with 4 if something is damaged.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.verifyStore(cmd.Context(), asJSON) },
	}
	jsonFlag(cmd.Flags(), &asJSON)
	return cmd
}

// jsonDamage is a line of store verify and store repair.
type jsonDamage struct {
	Event     string             `json:"event"`
	What      string             `json:"what"`
	Path      string             `json:"path"`
	Reason    string             `json:"reason"`
	Artifacts []store.ArtifactID `json:"artifacts"` // that it breaks
}

// jsonStoreVerified is the last line of store verify.
type jsonStoreVerified struct {
	Event       string `json:"event"`
	Blobs       int    `json:"blobs"`
	Bytes       int64  `json:"bytes"`
	Artifacts   int    `json:"artifacts"`
	Derivations int    `json:"derivations"`
	Statements  int    `json:"statements"`
	Roots       int    `json:"roots"`
	Unindexed   int    `json:"unindexed"`
	Damaged     int    `json:"damaged"`
}

func (a *app) verifyStore(ctx context.Context, asJSON bool) error {
	s, err := a.openStore()
	if err != nil {
		return err
	}
	defer s.Close()
	r, err := s.Verify(ctx)
	if err != nil {
		return err
	}
	if err := a.printDamage(r.Damaged, asJSON); err != nil {
		return err
	}
	if asJSON {
		j := newJSONLines(a.out)
		j.write(jsonStoreVerified{"summary", r.Blobs, r.Bytes, r.Artifacts, r.Derivations, r.Statements, r.Roots, r.Unindexed, len(r.Damaged)})
		err = j.err
	} else {
		_, err = fmt.Fprintf(a.out, "%s whole; %s with %s, %s, %s and %s are as they should be\n", count(r.Artifacts, "artifact"),
			count(r.Blobs, "blob"), formatBytes(r.Bytes), count(r.Derivations, "derivation"), count(r.Statements, "statement"), count(r.Roots, "root"))
	}
	if r.Unindexed > 0 {
		fmt.Fprintf(a.err, "%s are whole and not in the index, as a crash may leave them (store reindex adds them, gc removes them)\n", count(r.Unindexed, "artifact"))
	}
	if r.Trees > 0 {
		fmt.Fprintf(a.err, "%s are a cache and were not looked into (they may be removed)\n", count(r.Trees, "unpacked tree"))
	}
	if err == nil && len(r.Damaged) > 0 {
		err = wrongError{fmt.Errorf("verify store: %s damaged (rpcbuild store repair fetches or builds them again)", count(len(r.Damaged), "object"))}
	}
	return err
}

func (a *app) printDamage(damaged []store.Damage, asJSON bool) error {
	j := newJSONLines(a.out)
	for _, d := range damaged {
		if asJSON {
			artifacts := append([]store.ArtifactID{}, d.Artifacts...)
			j.write(jsonDamage{"damaged", d.What, d.Path, d.Reason, artifacts})
			continue
		}
		fmt.Fprintf(a.out, "damaged %s %s: %s\n", d.What, d.Path, oneLine(d.Reason))
		for _, id := range d.Artifacts {
			fmt.Fprintf(a.out, "  breaks artifact %s\n", id)
		}
	}
	return j.err
}
