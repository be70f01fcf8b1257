package main

import (
	"os"
	"os/exec"
	"path/filepath"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

func cmdTmpfs(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: tmpfs DIR SIZE")
	}
	dir := ts.MkAbs(args[0])
	if unix.Mount("tmpfs", dir, "tmpfs", unix.MS_REMOUNT, "size="+args[1]) == nil {
		return
	}
	ts.Check(os.MkdirAll(dir, 0o755))
	ts.Check(unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+args[1]))
	ts.Defer(func() { unix.Unmount(dir, unix.MNT_DETACH) })
}

// cmdPublic opens the folders of all scripts and that of the rpcbuild that they run, which only
// this user may enter.
func cmdPublic(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: public")
	}
	self, err := exec.LookPath("rpcbuild")
	ts.Check(err)
	for _, dir := range []string{filepath.Dir(ts.MkAbs(".")), filepath.Dir(filepath.Dir(self))} {
		ts.Check(os.Chmod(dir, 0o755))
	}
}

func cmdStatic(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: static FILE")
	}
	build := exec.Command("go", "build", "-o", ts.MkAbs(args[0]), ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		ts.Fatalf("%s: %v\n%s", build, err, out)
	}
}
