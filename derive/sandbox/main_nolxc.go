//go:build !cgo

package sandbox

import "errors"

// Main says that this rpcbuild has no LXC.
func Main(string) error {
	return errors.New("sandbox: this rpcbuild was built without LXC; build it with CGO_ENABLED=1 and lxc-dev")
}
