package apt

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/rcbops/rpcbuild/derive"
	"github.com/rcbops/rpcbuild/recipes/spec"
)

// Nodes are the repositories of a release.
type Nodes struct {
	Integrated  *derive.Node
	Independent map[string]*derive.Node
}

// Kinds returns how the nodes of this recipe are built.
func Kinds() []derive.Kind {
	return []derive.Kind{
		{Name: repositoryKind, Version: "1", Build: buildRepository},
		{Name: resolveKind, Version: "1", Build: buildResolve},
	}
}

// Where repositories are published, under the web root.
const (
	integratedPath  = "apt-mirror/integrated"
	independentPath = "apt-mirror/independent"
	originalPath    = "apt-mirror/independant" // as the original spelled it, for its clients
)

// Nodes returns the repositories of the release rel as the lock has them. archive is asked for the
// URL of a mirror's archive when one of its packages must be fetched, and never before.
func (d *Definition) Nodes(l *Lock, rel spec.Release, archive func(mirror string) (string, error)) (*Nodes, error) {
	if err := l.Check(d); err != nil {
		return nil, err
	}
	g := &nodeMaker{lock: l, rel: rel, archive: archive, arches: d.Architectures, fetches: make(map[string]*fetched)}
	nodes := &Nodes{Independent: make(map[string]*derive.Node)}
	var err error
	if len(d.Integrated) > 0 {
		p := repository{Prefix: integratedPath, Label: "integrated"}
		if nodes.Integrated, err = g.repository("apt/integrated", p, d.Integrated); err != nil {
			return nil, err
		}
	}
	for _, dest := range sortedKeys(d.Independent) {
		p := repository{Prefix: path.Join(independentPath, dest), Alias: path.Join(originalPath, dest), Label: dest}
		if nodes.Independent[dest], err = g.repository("apt/independent/"+dest, p, d.Independent[dest]); err != nil {
			return nil, err
		}
	}
	return nodes, nil
}

type nodeMaker struct {
	lock    *Lock
	rel     spec.Release
	archive func(mirror string) (string, error)
	arches  []string
	fetches map[string]*fetched // by node name
}

// fetched is the node of one .deb, and everywhere that it can be had from.
type fetched struct {
	node    *derive.Node
	sha256  string
	sources []source
}

type source struct{ mirror, filename string }

func (g *nodeMaker) repository(name string, p repository, mirrors []string) (*derive.Node, error) {
	p.Suite = g.rel.Name + "-" + g.rel.Distribution.Codename
	p.Component = "main"
	p.Architectures = g.arches
	p.Time = g.rel.Time
	p.native = g.rel.Distribution.Arch
	inputs := make(map[string]derive.Input)
	type origin struct{ mirror, sha256 string }
	origins := make(map[string]origin) // by package id
	for _, mirror := range mirrors {
		for _, pkg := range g.lock.Mirrors[mirror].Packages {
			id := pkg.ID()
			first, ok := origins[id]
			if ok && first.sha256 != pkg.SHA256 {
				return nil, fmt.Errorf("%s: mirrors %s and %s both have %s, with different content: %s and %s (publish one of them under independent)",
					name, first.mirror, mirror, id, first.sha256, pkg.SHA256)
			}
			if !ok {
				origins[id] = origin{mirror, pkg.SHA256}
				p.Packages = append(p.Packages, poolPackage{Name: pkg.Name, Version: pkg.Version, Arch: pkg.Arch, Size: pkg.Size, SHA256: pkg.SHA256})
			}
			n, err := g.fetch(mirror, pkg)
			if err != nil {
				return nil, err
			}
			inputs[id] = derive.Input{Node: n}
		}
	}
	p.sort()
	return &derive.Node{Name: name, Kind: repositoryKind, Params: p, Inputs: inputs}, nil
}

// fetch returns the one node of a .deb, whichever repositories and mirrors it is in. Repositories
// that are published apart may have other content under the same name: its node has a longer name.
func (g *nodeMaker) fetch(mirror string, pkg Package) (*derive.Node, error) {
	name := "deb/" + pkg.ID()
	if f := g.fetches[name]; f != nil && f.sha256 != pkg.SHA256 {
		name += "_" + pkg.SHA256[:16]
	}
	if f := g.fetches[name]; f != nil {
		if s := (source{mirror, pkg.Filename}); !slices.Contains(f.sources, s) {
			f.sources = append(f.sources, s)
		}
		return f.node, nil
	}
	blob, err := pkg.Blob()
	if err != nil {
		return nil, err
	}
	f := &fetched{sha256: pkg.SHA256, sources: []source{{mirror, pkg.Filename}}}
	f.node, err = derive.Fetch(name, path.Base(pkg.Filename), blob, func(context.Context) ([]string, error) { return g.urls(f) })
	if err != nil {
		return nil, err
	}
	g.fetches[name] = f
	return f.node, nil
}

// urls returns where a .deb can be had from. A mirror whose archive is not known is an error only
// if there is no other.
func (g *nodeMaker) urls(f *fetched) ([]string, error) {
	var urls []string
	var errs []error
	for _, s := range f.sources {
		archive, err := g.archive(s.mirror)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		urls = append(urls, strings.TrimSuffix(archive, "/")+"/"+escapePath(s.filename))
	}
	if len(urls) == 0 {
		return nil, errors.Join(errs...)
	}
	return urls, nil
}
