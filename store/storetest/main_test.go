package storetest_test

import (
	"fmt"
	"os"
	"testing"

	"github.com/rcbops/rpcbuild/store/faulttest"
)

// TestMain lets this binary be the program that commits to a store.
func TestMain(m *testing.M) {
	faulttest.Main()
	if os.Getenv("STORETEST_COMMIT") != "" {
		if err := commit(os.Args[1]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}
