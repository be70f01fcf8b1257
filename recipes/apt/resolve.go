package apt

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"

	"github.com/rcbops/rpcbuild/derive"
	"github.com/rcbops/rpcbuild/store"
)

// resolveKind picks packages from a repository: the exact list that a root file system is made of.
// Its output is those packages and nothing else, so that what is built of it moves only with them.
const resolveKind = "resolve"

// A Query says which packages to pick.
type Query struct {
	// Packages are wanted by name, each in its highest version.
	Packages []string `json:"packages"`
	// Essential asks for all that a system cannot do without: Essential: yes, Priority: required.
	Essential bool `json:"essential"`
}

// Picked is one line of a resolve's packages.json, which is sorted by name.
type Picked struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	Arch    string `json:"arch"`
	File    string `json:"file"` // below debs
}

// PickedFile is the name of the list in a resolve's output.
const PickedFile = "packages.json"

// resolveParams are the params of a resolveKind node.
type resolveParams struct {
	Query
	Repository string `json:"repository"` // where in the snapshot
	Index      string `json:"index"`      // below Repository
	Arch       string `json:"arch"`
}

// ResolveNode returns the node that picks packages from a repository of [Nodes]. Base, if not nil,
// is another such node, whose packages are there already: only what must be added is picked. It
// panics if snapshot is another node.
func ResolveNode(name string, snapshot *derive.Node, q Query, base *derive.Node) *derive.Node {
	r := snapshot.Params.(repository)
	p := resolveParams{
		Query: q, Repository: r.Prefix, Arch: r.native,
		Index: path.Join("dists", r.Suite, r.Component, "binary-"+r.native, "Packages"),
	}
	p.Packages = slices.Compact(slices.Sorted(slices.Values(q.Packages)))
	inputs := map[string]derive.Input{"snapshot": {Node: snapshot}}
	if base != nil {
		inputs["base"] = derive.Input{Node: base}
	}
	return &derive.Node{Name: name, Kind: resolveKind, Params: p, Inputs: inputs}
}

func buildResolve(_ context.Context, b *derive.Build) error {
	var p resolveParams
	if err := b.Params(&p); err != nil {
		return err
	}
	repo := filepath.Join(b.Input("snapshot"), filepath.FromSlash(p.Repository))
	s, err := newSolver(filepath.Join(repo, filepath.FromSlash(p.Index)), p.Arch)
	if err != nil {
		return err
	}
	if _, ok := b.Drv.Inputs["base"]; ok {
		base, err := ReadPicked(b.Input("base"))
		if err != nil {
			return err
		}
		if err := s.install(base); err != nil {
			return err
		}
	}
	chosen, err := s.solve(p.Query)
	if err != nil {
		return fmt.Errorf("pick packages: %w", err)
	}
	b.Logf("%d packages", len(chosen))
	return writePicked(b.Output, repo, chosen)
}

// writePicked makes the output: the list, and links to the packages.
func writePicked(output, repo string, chosen []*candidate) error {
	debs := filepath.Join(output, "debs")
	if err := os.Mkdir(debs, 0o755); err != nil {
		return err
	}
	list := make([]Picked, 0, len(chosen))
	for _, c := range chosen {
		filename := c.filename()
		p := Picked{Name: c.Name, Version: c.Version, Arch: c.Architecture, File: path.Base(filename)}
		err := os.Link(filepath.Join(repo, filepath.FromSlash(filename)), filepath.Join(debs, p.File))
		if err != nil {
			return err
		}
		list = append(list, p)
	}
	slices.SortFunc(list, func(a, b Picked) int { return cmp.Compare(a.Name, b.Name) })
	content, err := store.CanonicalJSON(list)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(output, PickedFile), append(content, '\n'), 0o644)
}

// ReadPicked returns the packages that the resolve in dir picked.
func ReadPicked(dir string) ([]Picked, error) {
	b, err := os.ReadFile(filepath.Join(dir, PickedFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: it has no %s: not the output of a resolve", dir, PickedFile)
	}
	if err != nil {
		return nil, err
	}
	var list []Picked
	if err := json.Unmarshal(b, &list); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, PickedFile), err)
	}
	return list, nil
}
