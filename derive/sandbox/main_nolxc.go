//go:build !cgo

package sandbox

import "errors"

var errNoLXC = errors.New("a sandbox needs LXC, which this rpcbuild was built without: build it with CGO_ENABLED=1 and the Debian package lxc-dev, or name an rpc-repo that has the artifact with --repo")

// Main says that this rpcbuild has no LXC.
func Main(string) error { return errNoLXC }

// Version returns the version of LXC that sandboxes are made with: this program has none.
func Version() string { return "" }

func linked() error { return errNoLXC }
