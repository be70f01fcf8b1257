package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/rcbops/rpcbuild/recipes/apt/apttest"
)

// upstream is a script's archive of Debian packages. Its server runs from the first mirror on: the
// user's configuration maps https://archive.example.org to it, and ARCHIVE is its URL. Its key is
// in recipes/keyrings/test.asc.
type upstream struct {
	dir    string
	key    *apttest.Key
	server *apttest.Server
}

// upstreamKey finds a script's upstream among its values.
type upstreamKey struct{}

// archiveDate is when the archive and its key were made.
var archiveDate = time.Date(2026, 4, 1, 12, 0, 0, 0, time.UTC)

func upstreamOf(ts *testscript.TestScript) *upstream {
	u := ts.Value(upstreamKey{}).(*upstream)
	if u.server != nil {
		return u
	}
	var err error
	u.key, err = apttest.NewKey("test", archiveDate, 0)
	ts.Check(err)
	public, err := u.key.Public()
	ts.Check(err)
	keyring := ts.MkAbs("recipes/keyrings/test.asc")
	ts.Check(os.MkdirAll(filepath.Dir(keyring), 0o755))
	ts.Check(os.WriteFile(keyring, []byte(public), 0o644))
	ts.Check(os.MkdirAll(u.dir, 0o755))
	u.server = apttest.Serve(u.dir)
	ts.Defer(u.server.Close)
	ts.Setenv("ARCHIVE", u.server.URL)
	config := filepath.Join(ts.Getenv("XDG_CONFIG_HOME"), "rpcbuild", "config.yaml")
	ts.Check(os.WriteFile(config, []byte("upstreams: {\"https://archive.example.org\": \""+u.server.URL+"\"}\n"), 0o644))
	return u
}

func cmdMirror(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: mirror SUITE DEB...")
	}
	u := upstreamOf(ts)
	suite := apttest.Suite{Name: args[0], Arch: "amd64", Date: archiveDate, Key: u.key}
	for _, arg := range args[1:] {
		parts := strings.Split(arg, ":")
		name, version, ok := strings.Cut(parts[0], "_")
		if !ok {
			ts.Fatalf("package %q: want name_version", arg)
		}
		deb := apttest.Deb{Name: name, Version: version, Arch: "amd64", Fields: make(map[string]string)}
		for _, p := range parts[1:] {
			key, value, _ := strings.Cut(p, "=")
			deb.Fields[key] = value
		}
		suite.Debs = append(suite.Debs, deb)
	}
	ts.Check(suite.Write(u.dir))
}

func cmdBreak(ts *testscript.TestScript, neg bool, args []string) {
	faults := map[string]apttest.Fault{
		"notfound": apttest.NotFound, "truncated": apttest.Truncated, "corrupt": apttest.Corrupt, "silent": apttest.Silent,
	}
	if neg || len(args) != 2 || faults[args[1]] == nil {
		ts.Fatalf("usage: break SUFFIX notfound|truncated|corrupt|silent")
	}
	upstreamOf(ts).server.Break(args[0], faults[args[1]])
}

func cmdMend(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: mend SUFFIX")
	}
	upstreamOf(ts).server.Break(args[0], nil)
}

func cmdRequested(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: [!] requested REGEXP")
	}
	re, err := regexp.Compile(args[0])
	ts.Check(err)
	requests := upstreamOf(ts).server.Requests()
	if slices.ContainsFunc(requests, re.MatchString) == neg {
		ts.Fatalf("requests of the archive since the last time: %s", strings.Join(requests, " "))
	}
}
