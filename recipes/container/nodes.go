package container

import "github.com/rcbops/rpcbuild/derive"

const chrootKind = "chroot"

// Kinds returns how the nodes of this recipe are built.
func Kinds() []derive.Kind {
	return []derive.Kind{
		{Name: chrootKind, Version: "1", Sandbox: true, Build: buildChroot},
	}
}

// Chroot returns the node of a root file system.
func Chroot(name string, packages, base *derive.Node, time int64) *derive.Node {
	inputs := map[string]derive.Input{"packages": {Node: packages}}
	if base != nil {
		inputs["base"] = derive.Input{Node: base, Unpack: true}
	}
	return &derive.Node{Name: name, Kind: chrootKind, Params: chrootParams{Time: time}, Inputs: inputs}
}
