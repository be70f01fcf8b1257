package main

import (
	"fmt"
	"os"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/rcbops/rpcbuild/cache/servertest"
)

// scriptT is a script as servers take a test.
type scriptT struct{ *testscript.TestScript }

// testKey finds a script's test among its values.
type testKey struct{}

func (t scriptT) Helper()           {}
func (t scriptT) Cleanup(fn func()) { t.Defer(fn) }

// TempDir makes a folder beside those of the script's own files: servers keep sockets and keys there.
func (t scriptT) TempDir() string {
	dir, err := os.MkdirTemp(t.Getenv("TMPDIR"), "server")
	t.Check(err)
	return dir
}

func (t scriptT) Skipf(format string, args ...any) {
	t.Value(testKey{}).(testscript.T).Skip(fmt.Sprintf(format, args...))
}

func cmdNginx(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: nginx DIR")
	}
	n := servertest.StartNginx(scriptT{ts}, ts.MkAbs(args[0]))
	ts.Setenv("HTTPS", n.HTTPS)
	ts.Setenv("SSL_CERT_FILE", n.CertFile)
}

func cmdSSHD(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: sshd DIR")
	}
	s := servertest.StartSSHD(scriptT{ts}, ts.MkAbs(args[0]))
	ts.Setenv("SFTP", s.URL(""))
	ts.Setenv("REPO_HOST", s.Address+s.Dir)
	ts.Setenv("REPO_USER", s.Options.User)
	ts.Setenv("REPO_USER_KEY", s.Options.KeyFile)
	ts.Setenv("REPO_HOST_PUBKEY", s.Options.HostKeyFile)
}

func cmdSSHKey(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: sshkey FILE")
	}
	servertest.NewSSHKey(scriptT{ts}, ts.MkAbs(args[0]))
}

func cmdS3(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: s3 DIR")
	}
	s := servertest.StartS3(scriptT{ts}, ts.MkAbs(args[0]))
	ts.Setenv("S3", s.URL("prefix"))
	ts.Setenv("AWS_ACCESS_KEY_ID", servertest.S3Key)
	ts.Setenv("AWS_SECRET_ACCESS_KEY", servertest.S3Secret)
}
