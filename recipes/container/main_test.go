package container

import (
	"fmt"
	"os"
	"testing"

	"github.com/rcbops/rpcbuild/derive/sandbox"
)

// TestMain lets this binary play rpcbuild's hidden verb.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "sandbox" {
		if err := sandbox.Main(os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func do(t *testing.T, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}
