package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/rcbops/rpcbuild/cache"
	"github.com/rcbops/rpcbuild/cache/cachetest"
	"github.com/rcbops/rpcbuild/store/faulttest"
	"github.com/rcbops/rpcbuild/store/storetest"
)

// killed are the commands of a round, in order: each is killed some times at random moments, and then
// ends. They begin with nothing and work on the stores a and b, and the repos one and two. The
// release small has its lock old, and then its lock new.
var killed = []struct {
	lock    string
	args    []string
	removes bool // what was durable goes
}{
	{"old", []string{"realize", "small", "--json", "--push", "--store", "a", "--repo", "one"}, false},
	{"old", []string{"pull", "small", "--store", "b", "--repo", "one"}, false},
	{"old", []string{"push", "small", "--store", "b", "--repo", "two"}, false},
	{"new", []string{"realize", "small", "--json", "--push", "--replace", "--store", "b", "--repo", "two"}, false},
	{"new", []string{"repo", "gc", "--keep", "1", "--grace", "1ns", "--store", "b", "--repo", "two"}, true},
	{"new", []string{"store", "gc", "--keep", "1", "--store", "b"}, true},
}

// quickKills is how many kills there are at least where SOAK names no other number.
const quickKills = 25

// TestKill kills rpcbuild, and all that it started, at random moments: nothing that is durable is
// wrong or lost, nothing is published that is not whole, and the next run does the rest. SOAK is how
// often; TEST_SEED begins at another place.
func TestKill(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes half a minute")
	}
	_, seed := faulttest.Sample(0)
	want, err := strconv.Atoi(os.Getenv("SOAK"))
	if err != nil {
		want = quickKills
	}
	t.Logf("TEST_SEED=%d", seed)
	k := newKiller(t, rand.New(rand.NewPCG(seed, 0)))
	k.round(t, 0) // how long each takes, and what is published
	for k.kills < want && !t.Failed() {
		k.round(t, 3)
	}
	t.Logf("%d kills: %v", k.kills, k.at)
}

// killer is a realm whose processes die.
type killer struct {
	*realm
	random *rand.Rand
	usual  []time.Duration // of each command
	kills  int
	at     map[string]int // kills by command

	// published is what consumers' paths may hold, by digest; what has a clock in it is not here.
	published map[string]map[digest.Digest]bool
}

func newKiller(t *testing.T, random *rand.Rand) *killer {
	k := &killer{
		realm: newRealm(t, faulttest.Dir(t)), random: random, usual: make([]time.Duration, len(killed)),
		at: make(map[string]int), published: make(map[string]map[digest.Digest]bool),
	}
	for i, lock := range []string{"old", "new"} {
		k.mirror(t, 12, strconv.Itoa(i+1))
		k.release(t, "small", "one: p00 | p01 | p02 | p03", "two: p03 | p04 | p05 | p06", "three: p07 | p08 | p09 | p10 | p11")
		if err := os.Rename(k.path("recipes/releases/small.lock"), k.path(lock+".lock")); err != nil {
			t.Fatal(err)
		}
	}
	return k
}

// round runs the commands, each after it was killed up to most times.
func (k *killer) round(t *testing.T, most int) {
	for _, name := range []string{"a", "b", "one", "two", "empty"} {
		if err := os.RemoveAll(k.path(name)); err != nil {
			t.Fatal(err)
		}
	}
	for i, c := range killed {
		lock, err := os.ReadFile(k.path(c.lock + ".lock"))
		if err != nil {
			t.Fatal(err)
		}
		k.write(t, "recipes/releases/small.lock", string(lock))
		done := make(doneBefore)
		if most > 0 {
			for range 1 + k.random.IntN(most) {
				k.kill(t, i, done)
			}
		}
		before := k.contents(t)
		start := time.Now()
		out := k.run(t, c.args...)
		if most == 0 {
			k.usual[i] = time.Since(start)
			k.learn(t)
		}
		done.wantNotAgain(t, out)
		k.wantRight(t, false)
		if !c.removes {
			k.wantKept(t, before)
		}
		if t.Failed() {
			t.Fatalf("rpcbuild %s", strings.Join(c.args, " "))
		}
	}
	k.run(t, "verify", "small", "--deep", "--store", "b", "--repo", "two")
	k.run(t, "verify", "small", "--deep", "--store", "empty", "--repo", "two")
}

// kill lets a command run for a part of the time that it usually takes.
func (k *killer) kill(t *testing.T, i int, done doneBefore) {
	t.Helper()
	c := killed[i]
	cmd := k.rpcbuild(t.Context(), c.args...)
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	after := time.Duration(k.random.Int64N(int64(k.usual[i]) + 1))
	time.Sleep(after)
	if err := cmd.Cancel(); err != nil && !errors.Is(err, syscall.ESRCH) {
		t.Fatal(err)
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); err != nil && (!errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL) {
		t.Errorf("rpcbuild %s, before it was killed: %v\n%s", strings.Join(c.args, " "), err, &stderr)
	}
	k.kills++
	k.at[c.args[0]]++
	done.add(t, out.String())
	k.wantRight(t, slices.Contains(c.args, "--replace"))
	for _, name := range []string{"a", "b"} { // what a person would ask
		if _, err := os.Stat(k.path(name, "index.db")); err == nil {
			k.run(t, "store", "verify", "--store", name)
		}
	}
	if t.Failed() {
		t.Fatalf("rpcbuild %s, killed after %v", strings.Join(c.args, " "), after)
	}
}

// wantRight finds stores and repos as they must be at any time.
func (k *killer) wantRight(t *testing.T, replacing bool) {
	t.Helper()
	for _, name := range []string{"a", "b"} {
		if err := storetest.Audit(k.path(name)); err != nil {
			t.Errorf("store %s: %v", name, err)
		}
	}
	for _, name := range []string{"one", "two"} {
		if err := cachetest.Audit(k.path(name)); err != nil {
			t.Errorf("rpc-repo %s: %v", name, err)
		}
		amiss, err := cachetest.Listed(t.Context(), k.path(name))
		if err != nil {
			t.Errorf("rpc-repo %s: %v", name, err)
		}
		for _, v := range amiss {
			// Of a release that is being replaced, what is published at its paths may be the next one's.
			if !replacing || v.State != cache.Wrong || !strings.HasSuffix(v.Reason, "other content is published there") {
				t.Errorf("rpc-repo %s: %s is %s: %s", name, v.Item.Name, v.State, v.Reason)
			}
		}
		k.eachPublished(t, name, func(path string, d digest.Digest) {
			if may := k.published[path]; may != nil && !may[d] {
				t.Errorf("rpc-repo %s: %s has other content than either release", name, path)
			}
		})
	}
}

// learn notes what is published. What differs between the repos has a clock in it.
func (k *killer) learn(t *testing.T) {
	for _, name := range []string{"one", "two"} {
		k.eachPublished(t, name, func(path string, d digest.Digest) {
			switch filepath.Base(path) {
			case "InRelease", "Release.gpg", "rpcbuild.asc", "index.html":
				return
			}
			if k.published[path] == nil {
				k.published[path] = make(map[digest.Digest]bool)
			}
			k.published[path][d] = true
		})
	}
}

// eachPublished calls fn with the files of consumers' paths.
func (k *killer) eachPublished(t *testing.T, repo string, fn func(path string, d digest.Digest)) {
	t.Helper()
	k.eachFile(t, repo, func(path string, _ fs.FileInfo) {
		rel := strings.TrimPrefix(path, k.path(repo)+"/")
		if strings.HasPrefix(rel, "cache/") {
			return
		}
		content, err := os.ReadFile(path)
		if err != nil {
			t.Errorf("rpc-repo %s: %v", repo, err)
			return
		}
		fn(rel, digest.FromBytes(content))
	})
}

func (k *killer) eachFile(t *testing.T, name string, fn func(path string, fi fs.FileInfo)) {
	t.Helper()
	err := filepath.WalkDir(k.path(name), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		fi, err := d.Info()
		if err == nil {
			fn(path, fi)
		}
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
}

// contents are the files whose name is the digest of their content, in stores and in repos.
func (k *killer) contents(t *testing.T) map[string]fs.FileInfo {
	files := make(map[string]fs.FileInfo)
	for _, dir := range []string{"a/blob", "a/artifact", "b/blob", "b/artifact", "one/cache/v1/blob", "one/cache/v1/chunk", "two/cache/v1/blob", "two/cache/v1/chunk"} {
		k.eachFile(t, dir, func(path string, fi fs.FileInfo) { files[path] = fi })
	}
	return files
}

// wantKept wants that what was durable is still there, and was not written again.
func (k *killer) wantKept(t *testing.T, before map[string]fs.FileInfo) {
	t.Helper()
	for path, was := range before {
		is, err := os.Stat(path)
		if err != nil {
			t.Errorf("lost: %v", err)
		} else if !os.SameFile(was, is) {
			t.Errorf("%s was written again", path)
		}
	}
}

// doneBefore are the derivations that runs said they had built or fetched before they were killed.
type doneBefore map[string]bool

func (d doneBefore) add(t *testing.T, out string) {
	for drv := range doneIn(t, out) {
		d[drv] = true
	}
}

// wantNotAgain wants that a run does nothing that is done.
func (d doneBefore) wantNotAgain(t *testing.T, out string) {
	t.Helper()
	for drv := range doneIn(t, out) {
		if d[drv] {
			t.Errorf("derivation %s was done again", drv)
		}
	}
}

// doneIn reads which derivations were built or fetched, from the output of realize --json.
func doneIn(t *testing.T, out string) map[string]string {
	t.Helper()
	done := make(map[string]string)
	for line := range strings.Lines(out) {
		var ev struct{ Event, Drv, Outcome string }
		if !strings.HasSuffix(line, "\n") || json.Unmarshal([]byte(line), &ev) != nil {
			continue // of another command, or cut off
		}
		if ev.Event == "done" && (ev.Outcome == "built" || ev.Outcome == "fetched") {
			if done[ev.Drv] != "" {
				t.Errorf("derivation %s was done twice", ev.Drv)
			}
			done[ev.Drv] = ev.Outcome
		}
	}
	return done
}
