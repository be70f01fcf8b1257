package cache_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rcbops/rpcbuild/cache"
	"github.com/rcbops/rpcbuild/store"
)

// lines is what each of several pushers adds to one index.
const lines = 5

// lineReleases are artifacts that each have a line in the shared index, to be pushed one by one.
func lineReleases(t *testing.T, st *store.Store, who string) []cache.Release {
	var rels []cache.Release
	for i := range lines {
		key := fmt.Sprintf("%s;%d", who, i)
		it := add(t, st, "image/"+key, who, map[string]string{"f": key}, store.Manifest{
			Publish: []store.Publication{{Path: "lxc-images/" + key, File: "f"}},
			Lines:   []store.Line{{File: "meta/1.0/index-system", Key: key, Line: key + ";line"}},
		})
		rels = append(rels, cache.Release{Name: "r1", Lock: []byte("l"), Items: []cache.Item{it}})
	}
	return rels
}

func pushEach(t *testing.T, r *cache.Repo, st *store.Store, rels []cache.Release) {
	for _, rel := range rels {
		if _, err := r.Push(t.Context(), st, rel, cache.PushOptions{}); err != nil {
			t.Error(err)
		}
	}
}

// wantLines checks that nothing of any pusher is lost.
func wantLines(t *testing.T, dir string, pushers int) {
	t.Helper()
	index := read(t, dir, "meta/1.0/index-system")
	if n := strings.Count(index, "\n"); n != pushers*lines {
		t.Errorf("the index has %d lines, want %d", n, pushers*lines)
	}
	r := openRepo(t, dir, cache.Options{})
	rel, err := r.Release(t.Context(), "r1")
	if err != nil || len(rel.Items) != pushers*lines {
		t.Errorf("the release has %d items, %v, want %d", len(rel.Items), err, pushers*lines)
	}
	wantAll(t, r, rel)
}

func TestPushersAtOnce(t *testing.T) {
	dir := t.TempDir()
	const pushers = 8
	var wg sync.WaitGroup
	for i := range pushers {
		st, r := openStore(t), openRepo(t, dir, cache.Options{})
		rels := lineReleases(t, st, fmt.Sprintf("pusher%d", i))
		wg.Go(func() { pushEach(t, r, st, rels) })
	}
	wg.Wait()
	wantLines(t, dir, pushers)
}

// TestPusherProcess is one of the processes of TestPushersInProcesses.
func TestPusherProcess(t *testing.T) {
	dir := os.Getenv("TEST_PUSHER_REPO")
	if dir == "" {
		return // it is no such process
	}
	st := openStore(t)
	pushEach(t, openRepo(t, dir, cache.Options{}), st, lineReleases(t, st, os.Getenv("TEST_PUSHER_NAME")))
}

// pusher returns the command of a process that pushes lineReleases.
func pusher(t *testing.T, dir, who string) *exec.Cmd {
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestPusherProcess$")
	cmd.Env = append(os.Environ(), "TEST_PUSHER_REPO="+dir, "TEST_PUSHER_NAME="+who)
	return cmd
}

func TestPushersInProcesses(t *testing.T) {
	dir := t.TempDir()
	const pushers = 4
	var wg sync.WaitGroup
	for i := range pushers {
		cmd := pusher(t, dir, fmt.Sprintf("process%d", i))
		wg.Go(func() {
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
	wg.Wait()
	wantLines(t, dir, pushers)
}

// A process that is killed while it pushes leaves nothing half there and nothing locked.
func TestPushKilled(t *testing.T) {
	dir := t.TempDir()
	for i := range 12 {
		cmd := pusher(t, dir, "killed")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(20+15*i) * time.Millisecond)
		if err := cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
			t.Fatal(err)
		}
		cmd.Wait()
		r := openRepo(t, dir, cache.Options{})
		rel, err := r.Release(t.Context(), "r1")
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		wantAll(t, r, rel)
		if s, err := r.Pull(t.Context(), openStore(t), rel, nil); err != nil || s.Artifacts != len(rel.Items) {
			t.Errorf("pull after kill %d: %+v, %v, want %d artifacts", i, s, err, len(rel.Items))
		}
	}
	if out, err := pusher(t, dir, "killed").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	wantLines(t, dir, 1)
}

// Two pushers of one release at the same time upload it once, and both succeed.
func TestPushSameAtOnce(t *testing.T) {
	dir, st := t.TempDir(), openStore(t)
	rel := sample(t, st)
	var wg sync.WaitGroup
	for range 4 {
		r := openRepo(t, dir, cache.Options{})
		wg.Go(func() {
			if _, err := r.Push(t.Context(), st, rel, cache.PushOptions{}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	wantAll(t, openRepo(t, dir, cache.Options{}), rel)
}

// Lines that were in a consumer's index before the first push stay, and a new line of a key replaces
// the old one.
func TestIndexLines(t *testing.T) {
	dir, st := t.TempDir(), openStore(t)
	if err := os.WriteFile(dir+"/index", []byte("older;line\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	r := openRepo(t, dir, cache.Options{})
	for i := range 2 {
		line := fmt.Sprintf("b;line;%d", i)
		it := add(t, st, "image/"+line, "a", map[string]string{"f": line}, store.Manifest{
			Lines: []store.Line{{File: "index", Key: "b", Line: line}, {File: "index", Key: "a", Line: "a;line"}},
		})
		push(t, r, st, cache.Release{Name: "r1", Items: []cache.Item{it}}, cache.PushOptions{})
	}
	if got, want := read(t, dir, "index"), "a;line\nb;line;1\nolder;line\n"; got != want {
		t.Errorf("index: %q, want %q", got, want)
	}
}
