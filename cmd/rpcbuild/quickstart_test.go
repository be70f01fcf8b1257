package main_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestQuickstart realizes the release quickstart on this machine, from upstream, and lets the real
// clients use what it publishes. It is one test with parts in order, because each part goes on
// with what the one before has made.
func TestQuickstart(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes a quarter of an hour")
	}
	if os.Getuid() != 0 {
		t.Skip("it needs root")
	}
	if _, err := exec.LookPath("lxc-start"); err != nil {
		t.Skip("it needs the Debian package lxc")
	}
	q := newQuickstart(t)
	q.part("realize", q.realizeCold)
	q.part("again does nothing", q.realizeAgain)
	q.part("verify", q.verify)
	q.part("from rpc-repo alone", q.realizeFromRepo)
	q.part("other URLs of the same bytes", q.otherUpstream)
	q.part("a package that no root file system holds", q.unusedPackage)
	q.part("a constraint", q.constraint)
	q.part("clients", q.clients)
	q.part("interrupted and carried on, with the same bits", q.interrupted)
}

// quickstart is the state of the test: where things are, and what the first realization gave.
type quickstart struct {
	*testing.T
	bin     string // rpcbuild
	static  string // rpcbuild without LXC
	dir     string
	recipes string // a copy of the project's, with a lock of its own
	store   string
	repo    string
	first   map[string]derivation // by name
}

// derivation is a line of rpcbuild show --json.
type derivation struct {
	Name     string            `json:"name"`
	Kind     string            `json:"kind"`
	Drv      string            `json:"drv"`
	Artifact string            `json:"artifact"`
	Inputs   map[string]string `json:"inputs"`
	Publish  []string          `json:"publish"`
}

// event is a line of rpcbuild realize --json.
type event struct {
	Event      string  `json:"event"`
	Name       string  `json:"name"`
	Kind       string  `json:"kind"`
	Outcome    string  `json:"outcome"`
	Seconds    float64 `json:"seconds"`
	Built      int     `json:"built"`
	Fetched    int     `json:"fetched"`
	Reused     int     `json:"reused"`
	Failed     int     `json:"failed"`
	Downloaded int64   `json:"downloaded_bytes"`
}

func newQuickstart(t *testing.T) *quickstart {
	dir, err := os.MkdirTemp("/var/tmp", "quickstart") // /tmp may be a tmpfs, on which overlays have no xattrs
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	q := &quickstart{T: t, dir: dir, bin: filepath.Join(dir, "rpcbuild"), recipes: filepath.Join(dir, "recipes"),
		store: filepath.Join(dir, "store"), repo: filepath.Join(dir, "repo")}
	q.must("go", "build", "-o", q.bin, ".")
	q.static = q.bin + "-static"
	q.must("env", "CGO_ENABLED=0", "go", "build", "-o", q.static, ".")
	q.must("cp", "-a", "../../recipes", q.recipes)
	os.Remove(filepath.Join(q.recipes, "releases", "quickstart.lock"))
	return q
}

// part runs one part, and stops the whole test if it fails: the others would only repeat it.
func (q *quickstart) part(name string, f func(t *testing.T)) {
	if !q.Run(name, f) {
		q.FailNow()
	}
}

// must runs a program, and fails the test with what it printed if it fails.
func (q *quickstart) must(args ...string) string {
	q.Helper()
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	if err != nil {
		q.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// command returns an rpcbuild that runs.
func (q *quickstart) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, q.bin, args...)
	cmd.Args = append(cmd.Args, "--recipes", q.recipes)
	return cmd
}

// rpcbuild runs rpcbuild with --json, wants the exit status, and returns the lines of its output.
func (q *quickstart) rpcbuild(t *testing.T, status int, args ...string) []byte {
	t.Helper()
	var out, said bytes.Buffer
	cmd := q.command(t.Context(), append(args, "--json")...)
	cmd.Stdout, cmd.Stderr = &out, &said
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if got := cmd.ProcessState.ExitCode(); got != status {
		t.Fatalf("rpcbuild %s: exit status %d, want %d\n%s", strings.Join(args, " "), got, status, tail(said.String(), 60))
	}
	return out.Bytes()
}

// realize returns what rpcbuild realize says, and, by name, the outcomes of what was not reused.
func (q *quickstart) realize(t *testing.T, args ...string) (summary event, work map[string]string) {
	t.Helper()
	work = make(map[string]string)
	for _, e := range lines[event](t, q.rpcbuild(t, 0, append([]string{"realize", "quickstart"}, args...)...)) {
		switch {
		case e.Event == "summary":
			summary = e
		case e.Outcome != "" && e.Outcome != "reused":
			work[e.Name] = e.Outcome
		}
	}
	return summary, work
}

func (q *quickstart) show(t *testing.T, args ...string) map[string]derivation {
	t.Helper()
	all := make(map[string]derivation)
	for _, d := range lines[derivation](t, q.rpcbuild(t, 0, append([]string{"show", "quickstart"}, args...)...)) {
		all[d.Name] = d
	}
	return all
}

func lines[T any](t *testing.T, out []byte) []T {
	t.Helper()
	var all []T
	for s := bufio.NewScanner(bytes.NewReader(out)); s.Scan(); {
		var v T
		if err := json.Unmarshal(s.Bytes(), &v); err != nil {
			t.Fatalf("line %q: %v", s.Text(), err)
		}
		all = append(all, v)
	}
	return all
}

func tail(s string, n int) string {
	all := strings.Split(strings.TrimRight(s, "\n"), "\n")
	return strings.Join(all[max(0, len(all)-n):], "\n")
}

func (q *quickstart) realizeCold(t *testing.T) {
	start := time.Now()
	summary, work := q.realize(t, "--store", q.store, "--repo", q.repo, "--push")
	t.Logf("%d built, %d fetched, %d MB, in %s", summary.Built, summary.Fetched, summary.Downloaded>>20, time.Since(start).Round(time.Second))
	q.first = q.show(t, "--store", q.store)
	var compiled []string
	for name := range work {
		if strings.HasPrefix(name, "wheel/") {
			compiled = append(compiled, name)
		}
	}
	if len(compiled) < 5 {
		t.Errorf("compiled %v, want five wheels at least", compiled)
	}
	for _, path := range []string{
		"apt-mirror/integrated/dists/quickstart-trixie/InRelease", "apt-mirror/integrated/dists/quickstart-trixie/Release.gpg",
		"apt-mirror/independent/backports-curl/dists/quickstart-trixie/InRelease",
		"apt-mirror/independant/backports-curl/dists/quickstart-trixie/InRelease",
		"git-archives/quickstart/requirements.tgz", "git-archives/quickstart/requirements.checksum",
		"os-releases/quickstart/debian-13-x86_64/MANIFEST.in",
		"os-releases/quickstart/debian-13-x86_64/requirements_absolute_requirements.txt",
		"venvs/quickstart/debian-13-x86_64/keystone-quickstart-x86_64.tgz", "meta/1.0/index-system",
	} {
		if _, err := os.Stat(filepath.Join(q.repo, path)); err != nil {
			t.Error("not published:", err)
		}
	}
}

func (q *quickstart) realizeAgain(t *testing.T) {
	summary, work := q.realize(t, "--store", q.store, "--repo", q.repo, "--push")
	if len(work) > 0 || summary.Built+summary.Fetched > 0 || summary.Downloaded > 0 {
		t.Errorf("it did %v, %d bytes came", work, summary.Downloaded)
	}
}

// verify runs as nobody, with the rpcbuild that has no LXC, without a store: as a PR job would.
func (q *quickstart) verify(t *testing.T) {
	store := filepath.Join(t.TempDir(), "store")
	q.must("chmod", "-R", "a+rX", q.dir)
	verify := func(repo string, status int) string {
		q.must("chmod", "a+rwx", filepath.Dir(store), filepath.Dir(filepath.Dir(store)))
		cmd := exec.Command("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--",
			q.static, "verify", "quickstart", "--json", "--recipes", q.recipes, "--store", store, "--repo", repo)
		cmd.Env = []string{"PATH=/usr/bin:/bin", "HOME=/nonexistent"}
		out, err := cmd.CombinedOutput()
		if got := cmd.ProcessState.ExitCode(); got != status {
			t.Errorf("verify against %s: exit status %d (%v), want %d\n%s", repo, got, err, status, tail(string(out), 20))
		}
		return string(out)
	}
	verify(q.repo, 0)
	empty := t.TempDir()
	if out := verify(empty, 3); !strings.Contains(out, `"state":"missing"`) {
		t.Errorf("nothing is missing in an empty rpc-repo:\n%s", tail(out, 20))
	}
	verify("https://127.0.0.1:1", 5)
}

func (q *quickstart) realizeFromRepo(t *testing.T) {
	store := filepath.Join(t.TempDir(), "store")
	summary, work := q.realize(t, "--store", store, "--repo", q.repo)
	if len(work) > 0 || summary.Built+summary.Fetched > 0 {
		t.Errorf("it did %v", work)
	}
	for name, d := range q.show(t, "--store", store, "--repo", q.repo) {
		if d.Artifact != q.first[name].Artifact {
			t.Errorf("%s: artifact %s, was %s", name, d.Artifact, q.first[name].Artifact)
		}
	}
}

// otherUpstream reads the same bytes from elsewhere: a URL is no part of what an artifact is.
func (q *quickstart) otherUpstream(t *testing.T) {
	recipes := q.recipes
	defer func() { q.recipes = recipes }()
	q.recipes = filepath.Join(t.TempDir(), "recipes")
	q.must("cp", "-a", recipes, q.recipes)
	edit(t, filepath.Join(q.recipes, "releases/quickstart.yaml"), "archive: host", "archive: https://mirror.example.org/debian")
	edit(t, filepath.Join(q.recipes, "releases/quickstart.yaml"), "url: ./git-bundles/", "url: https://git.example.org/")
	if summary, work := q.realize(t, "--store", q.store); len(work) > 0 || summary.Built+summary.Fetched > 0 {
		t.Errorf("it did %v", work)
	}
}

// unusedPackage takes chrony, which no root file system holds, out of the lock.
func (q *quickstart) unusedPackage(t *testing.T) {
	recipes := q.recipes
	defer func() { q.recipes = recipes }()
	q.recipes = filepath.Join(t.TempDir(), "recipes")
	q.must("cp", "-a", recipes, q.recipes)
	removeLines(t, filepath.Join(q.recipes, "releases/quickstart.lock"), `"name": "chrony"`)
	_, work := q.realize(t, "--store", q.store)
	if work["apt/integrated"] != "built" {
		t.Error("the repository was not built again")
	}
	for name, outcome := range work {
		if name != "apt/integrated" && !strings.HasPrefix(name, "resolve/") {
			t.Errorf("%s was %s", name, outcome)
		}
	}
}

// constraint moves one compiled package to another version.
func (q *quickstart) constraint(t *testing.T) {
	recipes := q.recipes
	defer func() { q.recipes = recipes }()
	q.recipes = filepath.Join(t.TempDir(), "recipes")
	q.must("cp", "-a", recipes, q.recipes)
	edit(t, filepath.Join(q.recipes, "constraints/upper-constraints-2026.1.txt"), "\nmsgpack===", "\nmsgpack===1.1.0\n#was ")
	q.rpcbuild(t, 0, "lock", "quickstart", "--store", q.store, "--update", "msgpack")
	_, work := q.realize(t, "--store", q.store)
	for _, name := range []string{"wheel/msgpack", "venv/keystone", "python/release", "container/keystone", "image/keystone"} {
		if work[name] != "built" {
			t.Errorf("%s was not built again", name)
		}
		delete(work, name)
	}
	for name, outcome := range work {
		if outcome == "built" {
			t.Errorf("%s was built", name)
		}
	}
}

func edit(t *testing.T, file, from, to string) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(b, []byte(from)) {
		t.Fatalf("%s has no %q", file, from)
	}
	if err := os.WriteFile(file, bytes.ReplaceAll(b, []byte(from), []byte(to)), 0o644); err != nil {
		t.Fatal(err)
	}
}

// removeLines takes the entries that contain text, a line each, out of a lock.
func removeLines(t *testing.T, file, text string) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	kept := slices.DeleteFunc(strings.SplitAfter(string(b), "\n"), func(line string) bool { return strings.Contains(line, text) })
	if len(kept) == strings.Count(string(b), "\n")+1 {
		t.Fatalf("%s has no line with %q", file, text)
	}
	if err := os.WriteFile(file, []byte(strings.Join(kept, "")), 0o644); err != nil {
		t.Fatal(err)
	}
}

// interrupted realizes the first realization's lock in an empty store at another path, is interrupted in
// every kind of work, leaves nothing behind, carries on, and ends with the same artifacts.
func (q *quickstart) interrupted(t *testing.T) {
	store := filepath.Join(q.dir, "elsewhere", "store")
	seen := map[string]bool{}
	for {
		kind, err := q.interruptAtNew(t, store, seen)
		if err != nil {
			t.Fatal(err)
		}
		if kind == "" {
			break
		}
		t.Log("interrupted in", kind)
		q.nothingLeft(t, store)
	}
	for _, kind := range []string{"fetch", "apt", "chroot", "git", "wheel", "venv", "container", "image"} {
		if !seen[kind] {
			t.Errorf("it was never interrupted in %s; kinds: %v", kind, slices.Sorted(maps.Keys(seen)))
		}
	}
	for name, d := range q.show(t, "--store", store) {
		if d.Artifact != q.first[name].Artifact {
			t.Errorf("%s: artifact %s, in the first realization %s", name, d.Artifact, q.first[name].Artifact)
		}
	}
}

// interruptAtNew runs realize and interrupts it in the first kind of work that is not seen yet. It
// returns "" if realize came to its end.
func (q *quickstart) interruptAtNew(t *testing.T, store string, seen map[string]bool) (string, error) {
	cmd := q.command(t.Context(), "realize", "quickstart", "--store", store, "--json")
	out, err := cmd.StdoutPipe()
	if err != nil {
		return "", err
	}
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		return "", err
	}
	kind := ""
	for s := bufio.NewScanner(out); s.Scan(); {
		var e event
		if err := json.Unmarshal(s.Bytes(), &e); err != nil {
			return "", err
		}
		if kind == "" && e.Event == "start" && !seen[e.Kind] {
			kind, seen[e.Kind] = e.Kind, true
			time.Sleep(300 * time.Millisecond)
			cmd.Process.Signal(syscall.SIGINT)
		}
	}
	cmd.Wait()
	status := cmd.ProcessState.ExitCode()
	switch {
	case kind == "" && status == 0, status == 130:
		return kind, nil
	case status == 0: // it ended before the signal came
		return kind, nil
	default:
		return "", fmt.Errorf("exit status %d after an interrupt in %q\n%s", status, kind, tail(said.String(), 30))
	}
}

// nothingLeft looks for what an interrupted realize must not leave.
func (q *quickstart) nothingLeft(t *testing.T, store string) {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(mounts), store) {
		t.Error("a mount is left")
	}
	if out, err := exec.Command("pgrep", "-f", store).Output(); err == nil {
		t.Errorf("processes are left: %s", out)
	}
	if left, _ := filepath.Glob(filepath.Join(store, "tmp", "*")); len(left) > 0 {
		t.Errorf("temporary files are left: %v", left)
	}
	filepath.WalkDir("/sys/fs/cgroup", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && strings.Contains(d.Name(), "rpcbuild-"+strings.ReplaceAll(strings.TrimPrefix(store, "/"), "/", "-")) {
			t.Errorf("a control group is left: %s", path)
		}
		return nil
	})
}
