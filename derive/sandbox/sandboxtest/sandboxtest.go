// Package sandboxtest is for tests of what runs in sandboxes.
package sandboxtest

import (
	"fmt"
	"os"
	"testing"

	"github.com/rcbops/rpcbuild/derive/sandbox"
)

// Main is a TestMain. In a process that a sandbox started, the test binary plays rpcbuild's hidden verb.
func Main(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "sandbox" {
		if err := sandbox.Main(os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// Need skips a test where there cannot be sandboxes.
func Need(t testing.TB) {
	t.Helper()
	if err := sandbox.Check(); err != nil {
		t.Skip(err)
	}
}
