package container

import (
	"context"
	"fmt"
	"os"
	"testing"

	"github.com/rcbops/rpcbuild/derive"
	"github.com/rcbops/rpcbuild/derive/sandbox"
)

// TestMain lets this binary play rpcbuild's hidden verbs.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 {
		var err error
		switch os.Args[1] {
		case "sandbox":
			err = sandbox.Main(os.Args[2])
		case "build":
			err = derive.RunBuild(context.Background(), testKinds(), os.Args[2], os.Stderr)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}
