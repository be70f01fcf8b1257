package storetest_test

import (
	"fmt"
	"os"
	"testing"

	"github.com/rcbops/rpcbuild/store/faulttest"
)

// programs work on the store in a folder.
var programs = map[string]func(dir string) error{"commit": commit, "gc": collect}

// TestMain lets this binary be one of the programs.
func TestMain(m *testing.M) {
	faulttest.Main()
	if run := programs[os.Getenv("STORETEST_PROGRAM")]; run != nil {
		if err := run(os.Args[1]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}
