package git

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rcbops/rpcbuild/derive/sandbox/sandboxtest"
)

func TestMain(m *testing.M) { sandboxtest.Main(m) }

// git runs git in dir, for an author and at a time that never change.
func git(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(),
		"GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null",
		"GIT_AUTHOR_NAME=A", "GIT_AUTHOR_EMAIL=a@example.org", "GIT_AUTHOR_DATE=2026-03-01T12:00:00 +0000",
		"GIT_COMMITTER_NAME=A", "GIT_COMMITTER_EMAIL=a@example.org", "GIT_COMMITTER_DATE=2026-03-01T12:00:00 +0000")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// upstream makes a repository with two branches, an annotated tag and a lightweight one. The same
// calls make the same commits.
func upstream(t *testing.T) string {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("git is not installed")
	}
	dir := filepath.Join(t.TempDir(), "upstream")
	git(t, "", "init", "--quiet", "--initial-branch=master", dir)
	write := func(name, content string) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 20 {
		write("README", strings.Repeat(fmt.Sprintf("line %d\n", i), i+1))
		write(fmt.Sprintf("sub/%d", i), strings.Repeat("same in all\n", 50)+fmt.Sprint(i))
		git(t, dir, "add", "-A")
		git(t, dir, "commit", "--quiet", "-m", fmt.Sprint("commit ", i))
	}
	if err := os.Symlink("README", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	write("run", "#!/bin/sh\n")
	git(t, dir, "add", "-A")
	git(t, dir, "update-index", "--chmod=+x", "run")
	git(t, dir, "commit", "--quiet", "-m", "link and program")
	git(t, dir, "tag", "light")
	git(t, dir, "tag", "-a", "-m", "one", "1.0")
	git(t, dir, "branch", "stable/x", "HEAD~3")
	git(t, dir, "reset", "--quiet", "--hard")
	return dir
}
