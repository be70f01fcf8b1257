package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rcbops/rpcbuild/recipes/apt/apttest"
)

// A realm is what tests of many runs of rpcbuild share: an archive of packages, releases made of
// them, a configuration, and room for stores and repos. It is in a folder of its own.
type realm struct {
	dir    string
	key    *apttest.Key
	server *apttest.Server
}

// newRealm makes a realm whose archive is empty.
func newRealm(t *testing.T, dir string) *realm {
	t.Helper()
	key, err := apttest.NewKey("test", archiveDate, 0)
	if err != nil {
		t.Fatal(err)
	}
	public, err := key.Public()
	if err != nil {
		t.Fatal(err)
	}
	r := &realm{dir: dir, key: key, server: apttest.Serve(filepath.Join(dir, "archive"))}
	t.Cleanup(r.server.Close)
	r.write(t, "recipes/keyrings/test.asc", public)
	r.write(t, "home/.config/rpcbuild/config.yaml", "upstreams: {\"https://archive.example.org\": \""+r.server.URL+"\"}\n")
	return r
}

func (r *realm) path(elem ...string) string {
	return filepath.Join(append([]string{r.dir}, elem...)...)
}

func (r *realm) write(t *testing.T, name, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(r.path(name)), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(r.path(name), []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// mirror writes the suite stable: n packages of some kilobytes, p00 to those that n has, at a version.
func (r *realm) mirror(t *testing.T, n int, version string) {
	t.Helper()
	suite := apttest.Suite{Name: "stable", Arch: "amd64", Date: archiveDate, Key: r.key}
	for i := range n {
		name := fmt.Sprintf("p%02d", i)
		suite.Debs = append(suite.Debs, apttest.Deb{Name: name, Version: version, Arch: "amd64", Files: map[string]string{
			"/usr/share/" + name: strings.Repeat(name+version, 3000),
		}})
	}
	if err := suite.Write(r.path("archive")); err != nil {
		t.Fatal(err)
	}
}

// release writes the definition of a release, and its lock, which pins what the archive has now. Each of
// repositories is "name: filter".
func (r *realm) release(t *testing.T, name string, repositories ...string) {
	t.Helper()
	var mirrors, independent strings.Builder
	for _, repository := range repositories {
		repo, filter, _ := strings.Cut(repository, ": ")
		fmt.Fprintf(&mirrors, "    %s: {archive: \"https://archive.example.org\", suite: stable, components: [main], keyring: keyrings/test.asc, filter: %s}\n", repo, filter)
		fmt.Fprintf(&independent, "    %s: [%s]\n", repo, repo)
	}
	r.write(t, "recipes/releases/"+name+".yaml", `distribution: {id: debian, version: "13", codename: trixie, arch: amd64}
url: https://rpc-repo.example.org
apt:
  architectures: [amd64]
  mirrors:
`+mirrors.String()+"  independent:\n"+independent.String())
	os.Remove(r.path("recipes/releases", name+".lock"))
	if out, err := r.rpcbuild(t.Context(), "lock", name, "--store", r.path("store-of-locks")).CombinedOutput(); err != nil {
		t.Fatalf("lock %s: %v\n%s", name, err, out)
	}
}

// rpcbuild returns the command of a run of the real program, a process group of its own.
func (r *realm) rpcbuild(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "rpcbuild", args...)
	home := r.path("home")
	cmd.Dir = r.dir
	cmd.Env = append(os.Environ(), "HOME="+home, "XDG_CONFIG_HOME="+home+"/.config", "XDG_CACHE_HOME="+home+"/.cache")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 10 * time.Second
	return cmd
}

// run runs rpcbuild to its end, which must be a good one, and returns its standard output.
func (r *realm) run(t *testing.T, args ...string) string {
	t.Helper()
	cmd := r.rpcbuild(t.Context(), args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("rpcbuild %s: %v\n%s%s", strings.Join(args, " "), err, out, &stderr)
	}
	return string(out)
}
