package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/rcbops/rpcbuild/derive"
	"github.com/rcbops/rpcbuild/store"
)

// releaseSummary is what a release holds, for people who see it for the first time.
type releaseSummary struct {
	artifacts map[string]int   // by kind
	bytes     map[string]int64 // by kind
	published map[string]int   // files, by the first folder of their path
}

// printSummary says how much of what there is, and how to look at it.
func (o *showOptions) printSummary(s *session, steps []derive.Step) error {
	sum := releaseSummary{make(map[string]int), make(map[string]int64), make(map[string]int)}
	for _, st := range steps {
		if err := sum.add(s, st); err != nil {
			return err
		}
	}
	tw := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
	for _, kind := range slices.Sorted(maps.Keys(sum.artifacts)) {
		fmt.Fprintf(tw, "%s\t%s\t%s\n", kind, count(sum.artifacts[kind], "artifact"), formatSize(sum.bytes[kind]))
	}
	for _, folder := range slices.Sorted(maps.Keys(sum.published)) {
		fmt.Fprintf(tw, "%s/\t%s\tpublished\n", folder, count(sum.published[folder], "file"))
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	if len(s.repos) == 0 {
		return nil
	}
	_, err := fmt.Fprintf(s.out, "rpc-repo is %s; rpcbuild serve --repo %s shows it to a browser, and to clients\n", s.repos[0], s.repoURLs[0])
	return err
}

// add counts an artifact that is there. What it publishes is known if the store has it.
func (sum *releaseSummary) add(s *session, st derive.Step) error {
	if st.Artifact.IsZero() || st.Node.Kind == derive.FetchKind {
		return nil
	}
	sum.artifacts[st.Node.Kind]++
	m, err := s.store.Manifest(st.Artifact)
	if errors.Is(err, store.ErrNotFound) {
		sum.bytes[st.Node.Kind] += st.Size
		return nil
	}
	if err != nil {
		return err
	}
	sum.bytes[st.Node.Kind] += m.Size()
	for _, p := range m.Publish {
		folder, _, _ := strings.Cut(p.Path, "/")
		sum.published[folder]++
	}
	return nil
}
