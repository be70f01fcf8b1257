package git

import (
	"bytes"
	"context"
	"crypto/sha1"
	"encoding/hex"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rcbops/rpcbuild/derive"
	"github.com/rcbops/rpcbuild/derive/sandbox/sandboxtest"
	"github.com/rcbops/rpcbuild/store"
)

// build packs a repository as a build does, with the git of this machine's own root as its chroot,
// and returns the archive.
func build(t *testing.T, url string, pin Pin) (archive string, err error) {
	t.Helper()
	sandboxtest.Need(t)
	dir, err := os.MkdirTemp("/var/tmp", "git-build") // overlays do not nest on every file system
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	inputs, output, scratch := filepath.Join(dir, "inputs"), filepath.Join(dir, "output"), filepath.Join(dir, "scratch")
	for _, d := range []string{inputs, output, scratch} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/", filepath.Join(inputs, "git")); err != nil {
		t.Fatal(err)
	}
	params, err := json.Marshal(archiveParams{Name: "r", Pin: pin})
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	b := derive.NewBuild(&derive.Derivation{
		Kind: archiveKind, Params: params, Inputs: map[string]store.ArtifactID{"git": store.HashArtifact(nil)},
	}, inputs, output, scratch, &log)
	b.Name = "git/r"
	if b.Source, err = json.Marshal(url); err != nil {
		t.Fatal(err)
	}
	err = buildArchive(context.Background(), b)
	if err != nil || log.Len() > 0 {
		t.Logf("log: %s", &log)
	}
	if mounts, _ := os.ReadFile("/proc/self/mounts"); strings.Contains(string(mounts), dir) {
		t.Error("a mount is left")
	}
	return filepath.Join(output, "r.tgz"), err
}

func mustBuild(t *testing.T, url string, pin Pin) string {
	t.Helper()
	archive, err := build(t, url, pin)
	if err != nil {
		t.Fatal(err)
	}
	return archive
}

func unpack(t *testing.T, archive string) string {
	t.Helper()
	dir := t.TempDir()
	if out, err := exec.Command("tar", "-xpzf", archive, "-C", dir, "--no-same-owner").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return filepath.Join(dir, "r")
}

func TestArchiveIsAUsableClone(t *testing.T) {
	dir := upstream(t)
	pin, err := resolve(t, dir, "stable/x")
	if err != nil {
		t.Fatal(err)
	}
	archive := mustBuild(t, dir, pin)
	content, err := os.ReadFile(archive)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha1.Sum(content)
	checksum, err := os.ReadFile(strings.TrimSuffix(archive, ".tgz") + ".checksum")
	if err != nil || string(checksum) != hex.EncodeToString(sum[:]) {
		t.Errorf("checksum %q, %v, want %x", checksum, err, sum)
	}

	clone := unpack(t, archive)
	if got := git(t, clone, "status", "--porcelain"); got != "" {
		t.Errorf("status: %s", got)
	}
	git(t, clone, "fsck", "--full", "--strict")
	if got := git(t, clone, "symbolic-ref", "HEAD"); got != "refs/heads/stable/x" {
		t.Errorf("HEAD is %s", got)
	}
	if got := git(t, clone, "rev-parse", "HEAD"); got != pin.Commit {
		t.Errorf("HEAD is at %s", got)
	}
	second := filepath.Join(t.TempDir(), "second")
	git(t, "", "clone", "--quiet", "file://"+clone, second)
	for _, ref := range []string{"origin/master", "1.0^{}", "light"} {
		if got, want := git(t, second, "rev-parse", ref), git(t, dir, "rev-parse", "master"); got != want {
			t.Errorf("%s of a clone of it is %s, want %s", ref, got, want)
		}
	}
	if got := git(t, second, "ls-files", "--stage", "sub/0"); !strings.HasPrefix(got, "100644 ") {
		t.Errorf("in a clone of it: %q", got)
	}
	git(t, clone, "checkout", "--quiet", "1.0")
	if target, err := os.Readlink(filepath.Join(clone, "link")); err != nil || target != "README" {
		t.Errorf("link to %q, %v", target, err)
	}
	if fi, err := os.Stat(filepath.Join(clone, "run")); err != nil || fi.Mode()&0o111 == 0 {
		t.Errorf("run: %v, %v", fi, err)
	}
}

// TestSameBits packs one pin from upstreams that hold it in different ways.
func TestSameBits(t *testing.T) {
	plain := upstream(t)
	pin, err := resolve(t, plain, "1.0")
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(mustBuild(t, plain, pin))
	if err != nil {
		t.Fatal(err)
	}
	repacked := upstream(t)
	git(t, repacked, "repack", "-adfq", "--depth=3", "--window=2")
	moved := upstream(t)
	git(t, moved, "checkout", "--quiet", "-b", "later", "stable/x")
	git(t, moved, "commit", "--quiet", "--allow-empty", "-m", "later")
	git(t, moved, "branch", "--force", "master", "later")
	git(t, moved, "tag", "-a", "-m", "two", "2.0")
	bundle := filepath.Join(t.TempDir(), "r.bundle")
	git(t, plain, "bundle", "create", "--quiet", bundle, "--branches", "--tags")
	for name, url := range map[string]string{"repacked": repacked, "moved on": moved, "a bundle": bundle} {
		got, err := os.ReadFile(mustBuild(t, url, pin))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s: other bits", name)
		}
	}
}

func TestDetachedAndInTheFuture(t *testing.T) {
	dir := upstream(t)
	t.Setenv("GIT_COMMITTER_DATE", "")
	cmd := exec.Command("git", "-c", "user.name=A", "-c", "user.email=a@example.org", "commit", "--quiet", "--allow-empty", "-m", "future")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_COMMITTER_DATE=2099-01-01T00:00:00 +0000")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	pin, err := resolve(t, dir, git(t, dir, "rev-parse", "HEAD"))
	if err != nil {
		t.Fatal(err)
	}
	clone := unpack(t, mustBuild(t, dir, pin))
	if got := git(t, clone, "rev-parse", "--abbrev-ref", "HEAD"); got != "HEAD" {
		t.Errorf("HEAD is on %s", got)
	}
	fi, err := os.Stat(filepath.Join(clone, "README"))
	if err != nil || fi.ModTime().Year() != 2099 {
		t.Errorf("README is of %v, %v, want the time of the commit", fi.ModTime(), err)
	}
}

func TestVanishedCommit(t *testing.T) {
	dir := upstream(t)
	git(t, dir, "branch", "gone", "master")
	git(t, dir, "checkout", "--quiet", "gone")
	git(t, dir, "commit", "--quiet", "--allow-empty", "-m", "to be forgotten")
	pin, err := resolve(t, dir, "gone")
	if err != nil {
		t.Fatal(err)
	}
	git(t, dir, "checkout", "--quiet", "master")
	git(t, dir, "branch", "--quiet", "-D", "gone")
	git(t, dir, "reflog", "expire", "--expire=now", "--all")
	git(t, dir, "gc", "--quiet", "--prune=now")
	_, err = build(t, dir, pin)
	if err == nil || !strings.Contains(err.Error(), "no longer has "+pin.Commit) || !strings.Contains(err.Error(), "update the lock") {
		t.Errorf("got %v", err)
	}
}

func TestReleaseGathersArchives(t *testing.T) {
	dir := t.TempDir()
	in, out := filepath.Join(dir, "in"), filepath.Join(dir, "out")
	drv := &derive.Derivation{Kind: releaseKind, Params: json.RawMessage(`{"release":"r1"}`), Inputs: map[string]store.ArtifactID{"a": {}, "b": {}}}
	for name := range drv.Inputs {
		if err := os.MkdirAll(filepath.Join(in, name), 0o755); err != nil {
			t.Fatal(err)
		}
		for _, ext := range []string{".tgz", ".checksum"} {
			if err := os.WriteFile(filepath.Join(in, name, name+ext), []byte(name), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := os.Mkdir(out, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := buildRelease(context.Background(), derive.NewBuild(drv, in, out, "", os.Stderr)); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a.tgz", "a.checksum", "b.tgz", "b.checksum"} {
		if b, err := os.ReadFile(filepath.Join(out, name)); err != nil || string(b) != name[:1] {
			t.Errorf("%s: %q, %v", name, b, err)
		}
	}
}
