package python

import (
	"fmt"
	"slices"

	"github.com/rcbops/rpcbuild/derive"
	"github.com/rcbops/rpcbuild/recipes/spec"
)

// Nodes are the python artifacts of a release.
type Nodes struct {
	// Wheels are what services hold, by project: built, or fetched as they are.
	Wheels map[string]*derive.Node
	// Venvs are the virtual environments, by service.
	Venvs map[string]*derive.Node
	// Release is the release's index of all of them.
	Release *derive.Node
}

// Kinds returns how the nodes of this recipe are built.
func Kinds() []derive.Kind {
	return []derive.Kind{
		{Name: wheelKind, Version: "2", Sandbox: true, Build: buildWheel},
		{Name: venvKind, Version: "1", Sandbox: true, Build: buildVenv},
		{Name: releaseKind, Version: "1", Build: buildRelease},
	}
}

// Locate returns where a file of an index can be had, such as [Index.Locator].
type Locate func(project, filename, sha256 string) derive.Locator

// Nodes returns the python artifacts of the release rel as the lock has them, built in chroot. git
// names the release's git archives, which its index lists.
func (d *Definition) Nodes(l *Lock, rel spec.Release, chroot *derive.Node, git []string, locate Locate) (*Nodes, error) {
	if diff := l.difference(d, l.Constraints); diff != "" {
		return nil, fmt.Errorf("python lock: it was made for other %s than the definition's (resolve the release again)", diff)
	}
	if err := l.check(); err != nil {
		return nil, err
	}
	m := &nodeMaker{lock: l, rel: rel, chroot: chroot, locate: locate, nodes: make(map[string]*derive.Node), held: make(map[string]bool)}
	for _, v := range l.Venvs {
		for _, id := range v.Packages {
			m.held[id] = true
		}
	}
	nodes := &Nodes{Wheels: make(map[string]*derive.Node), Venvs: make(map[string]*derive.Node)}
	for _, id := range sortedKeys(m.held) {
		n, err := m.node(id)
		if err != nil {
			return nil, err
		}
		p, _ := l.Package(id)
		nodes.Wheels[p.Name] = n
	}
	for _, name := range sortedKeys(l.Venvs) {
		nodes.Venvs[name] = m.venv(name)
	}
	nodes.Release = m.release(nodes, git)
	return nodes, nil
}

type nodeMaker struct {
	lock   *Lock
	rel    spec.Release
	chroot *derive.Node
	locate Locate
	nodes  map[string]*derive.Node // by package id; nil while it is made
	held   map[string]bool         // ids of packages that venvs hold
}

// node returns what gives the wheel of a package.
func (m *nodeMaker) node(id string) (*derive.Node, error) {
	if n, ok := m.nodes[id]; ok {
		if n == nil {
			return nil, fmt.Errorf("python lock: package %s needs itself to be built (list it under binary to take upstream's wheel)", id)
		}
		return n, nil
	}
	m.nodes[id] = nil
	p, _ := m.lock.Package(id)
	n, err := m.fetch(p)
	if err == nil && p.Build {
		n, err = m.wheel(p, n)
	}
	if err != nil {
		return nil, err
	}
	m.nodes[id] = n
	return n, nil
}

func (m *nodeMaker) fetch(p Package) (*derive.Node, error) {
	blob, err := p.File.blob()
	if err != nil {
		return nil, err
	}
	return derive.Fetch("fetch/"+p.File.Name, p.File.Name, blob, m.locate(p.Name, p.File.Name, p.File.SHA256))
}

func (m *nodeMaker) wheel(p Package, source *derive.Node) (*derive.Node, error) {
	inputs := map[string]derive.Input{chrootInput: {Node: m.chroot, Unpack: true}, sourceInput: {Node: source}}
	for _, id := range p.Requires {
		n, err := m.node(id)
		if err != nil {
			return nil, err
		}
		tool, _ := m.lock.Package(id)
		inputs[toolInput+tool.Name] = derive.Input{Node: n}
	}
	name := "wheel/" + p.Name
	if !m.held[p.ID()] { // another version may be held
		name = "tool/" + p.Name + "-" + p.Version
	}
	return &derive.Node{Name: name, Kind: wheelKind, Inputs: inputs, Params: wheelParams{
		Project: p.Name, Version: p.Version, Compiled: p.Compiled,
		Machine: m.rel.Distribution.Machine(), Platform: m.rel.Distribution.Platform(),
	}}, nil
}

func (m *nodeMaker) venv(name string) *derive.Node {
	ids := m.lock.Venvs[name].Packages
	inputs := m.wheels(ids)
	inputs[chrootInput] = derive.Input{Node: m.chroot, Unpack: true}
	return &derive.Node{Name: "venv/" + name, Kind: venvKind, Inputs: inputs, Params: venvParams{
		Name: name, Release: m.rel.Name, Packages: ids,
		Machine: m.rel.Distribution.Machine(), Platform: m.rel.Distribution.Platform(),
	}}
}

// wheels returns the wheels with those ids as inputs.
func (m *nodeMaker) wheels(ids []string) map[string]derive.Input {
	inputs := make(map[string]derive.Input)
	for _, id := range ids {
		p, _ := m.lock.Package(id)
		inputs[wheelInput+p.Name] = derive.Input{Node: m.nodes[id]}
	}
	return inputs
}

func (m *nodeMaker) release(nodes *Nodes, git []string) *derive.Node {
	ids := sortedKeys(m.held)
	inputs := m.wheels(ids)
	for name, n := range nodes.Venvs {
		inputs["venv/"+name] = derive.Input{Node: n}
	}
	taken := []string{}
	for _, id := range ids {
		if p, _ := m.lock.Package(id); !p.Build {
			taken = append(taken, p.Name)
		}
	}
	slices.Sort(taken) // ids are sorted otherwise: "-" is before "="
	return &derive.Node{Name: "python/release", Kind: releaseKind, Inputs: inputs, Params: releaseParams{
		Release: m.rel.Name, Machine: m.rel.Distribution.Machine(), Platform: m.rel.Distribution.Platform(),
		Packages: ids, Taken: taken, Venvs: sortedKeys(nodes.Venvs), Git: slices.Sorted(slices.Values(git)),
	}}
}
