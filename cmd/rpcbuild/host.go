package main

import (
	"os"
	"path/filepath"
	"runtime/debug"
)

// A host is what the program sees of its machine beside files.
type host struct {
	env  func(name string) string
	uid  int
	home string // the user's home folder; empty if there is none
	name string // the machine's
}

func systemHost() host {
	home, _ := os.UserHomeDir()
	name, _ := os.Hostname()
	return host{env: os.Getenv, uid: os.Getuid(), home: home, name: name}
}

// configDir is the folder of the user's own configuration and keys.
func (h host) configDir() string {
	return filepath.Join(h.base("XDG_CONFIG_HOME", ".config"), "rpcbuild")
}

// storeDir is the store's folder where nothing names one.
func (h host) storeDir() string {
	if h.uid == 0 {
		return "/var/cache/rpcbuild"
	}
	return filepath.Join(h.base("XDG_CACHE_HOME", ".cache"), "rpcbuild")
}

// base returns a base folder of the XDG specification, which wants relative ones ignored.
func (h host) base(variable, below string) string {
	if dir := h.env(variable); filepath.IsAbs(dir) {
		return dir
	}
	return filepath.Join(h.home, below)
}

// version returns the version of the module that the program was built from: a tag's, or one with
// the commit in it.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "(devel)"
	}
	return info.Main.Version
}
