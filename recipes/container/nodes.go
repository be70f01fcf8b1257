package container

import (
	"fmt"
	"path"

	"github.com/rcbops/rpcbuild/derive"
	"github.com/rcbops/rpcbuild/recipes/spec"
)

// The kinds of this recipe.
const (
	chrootKind    = "chroot"
	containerKind = "container"
	imageKind     = "image"
)

// Kinds returns how the nodes of this recipe are built.
func Kinds() []derive.Kind {
	return []derive.Kind{
		{Name: chrootKind, Version: "1", Sandbox: true, Build: buildChroot},
		{Name: containerKind, Version: "1", Sandbox: true, Build: buildContainer},
		{Name: imageKind, Version: "1", Sandbox: true, Build: buildImage},
	}
}

// Chroot returns the node of a root file system that is made of the packages of a resolve, on top
// of the chroot base or, if that is nil, of nothing. It is no release's: its latest time is that of
// its newest package, so that a new release with the same packages has the same chroot, and what
// was built in it.
func Chroot(name string, packages, base *derive.Node) *derive.Node {
	inputs := map[string]derive.Input{"packages": {Node: packages}}
	if base != nil {
		inputs["base"] = derive.Input{Node: base, Unpack: true}
	}
	return &derive.Node{Name: name, Kind: chrootKind, Params: struct{}{}, Inputs: inputs}
}

// integratedPath is where the release's repository is, under the web root.
const integratedPath = "apt-mirror/integrated"

// Container returns the node of a role's container: the chroot base, the packages of the resolve
// packages, the virtual environments (by name) at their final paths, the role's files and commands.
// Its only apt source is the release's, trusted with key, an armoured OpenPGP key.
func Container(role string, r Role, rel spec.Release, key string, base, packages *derive.Node, venvs map[string]*derive.Node) *derive.Node {
	p := containerParams{
		Time: rel.Time, Files: r.Files, Commands: r.Commands, Venvs: make(map[string]string, len(venvs)),
		Source: aptSource{
			Name: rel.Name, URL: rel.URL + "/" + integratedPath + "/", Key: key,
			Suite: rel.Name + "-" + rel.Distribution.Codename, Component: "main", Arch: rel.Distribution.Arch,
		},
	}
	inputs := map[string]derive.Input{"base": {Node: base, Unpack: true}, "packages": {Node: packages}}
	for name, n := range venvs {
		p.Venvs[name] = fmt.Sprintf("openstack/venvs/%s-%s", name, rel.Name)
		inputs[venvInput(name)] = derive.Input{Node: n}
	}
	return &derive.Node{Name: "container/" + role, Kind: containerKind, Params: p, Inputs: inputs}
}

func venvInput(name string) string { return "venv/" + name }

// Image returns the node of a container's image, compressed with the xz of a chroot that has it. like,
// if not nil, is an image with which it has much in common: what that one has compressed already is
// copied. It changes the time that it takes, and not one byte.
func Image(role string, rel spec.Release, container, xz, like *derive.Node) *derive.Node {
	dist := rel.Distribution
	p := imageParams{
		Time: rel.Time, Dist: dist.ID, Codename: dist.Codename, Arch: dist.Arch, Machine: dist.Machine(),
		Variant: role + "-" + rel.Name,
	}
	inputs := map[string]derive.Input{"container": {Node: container}, "xz": {Node: xz, Unpack: true}}
	if like != nil {
		inputs["like"] = derive.Input{Node: like}
	}
	return &derive.Node{Name: path.Join("image", role), Kind: imageKind, Params: p, Inputs: inputs}
}
