package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rcbops/rpcbuild/cache/cachetest"
	"github.com/rcbops/rpcbuild/store"
	"github.com/rcbops/rpcbuild/store/faulttest"
	"github.com/rcbops/rpcbuild/store/storetest"
)

// TestManyProcesses realizes two releases, which have a repository and most packages in common, 32 times
// at once, in one store and to one rpc-repo: everything is fetched and built once.
func TestManyProcesses(t *testing.T) {
	const processes = 32
	r := newRealm(t, t.TempDir())
	r.mirror(t, 12, "1")
	r.release(t, "left", "both: p00 | p01 | p02", "left: p03 | p04 | p05 | p06", "more: p07 | p08")
	r.release(t, "right", "both: p00 | p01 | p02", "right: p05 | p06 | p07 | p08", "others: p09 | p10 | p11")
	outputs := make([]string, processes)
	var wg sync.WaitGroup
	for i := range processes {
		release := []string{"left", "right"}[i%2]
		wg.Go(func() {
			cmd := r.rpcbuild(t.Context(), "realize", release, "--json", "--push", "--store", "store", "--repo", "repo")
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			out, err := cmd.Output()
			if err != nil {
				t.Errorf("process %d: %v\n%s%s", i, err, out, &stderr)
			}
			outputs[i] = string(out)
		})
	}
	wg.Wait()

	times := make(map[string]int)
	outcomes := make(map[string]int)
	for _, out := range outputs {
		for drv, outcome := range doneIn(t, out) {
			times[drv]++
			outcomes[outcome]++
		}
	}
	for drv, n := range times {
		if n != 1 {
			t.Errorf("derivation %s was done %d times", drv, n)
		}
	}
	if outcomes["fetched"] != 12 || outcomes["built"] < 5 {
		t.Errorf("done: %v", outcomes)
	}
	for _, release := range []string{"left", "right"} {
		r.run(t, "verify", release, "--deep", "--store", "store", "--repo", "repo")
		r.run(t, "verify", release, "--deep", "--store", "empty", "--repo", "repo")
	}
	if err := storetest.Audit(r.path("store")); err != nil {
		t.Errorf("the store: %v", err)
	}
	if left, _ := storetest.Left(r.path("store")); len(left) > 0 {
		t.Errorf("temporary files are left: %v", left)
	}
	if err := cachetest.Audit(r.path("repo")); err != nil {
		t.Errorf("rpc-repo: %v", err)
	}
	if amiss, err := cachetest.Listed(t.Context(), r.path("repo")); err != nil || len(amiss) > 0 {
		t.Error("rpc-repo:", amiss, err)
	}
	wantKnown(t, r.path("store"), times)
}

// wantKnown wants each derivation in the index, with one artifact that the store holds.
func wantKnown(t *testing.T, dir string, drvs map[string]int) {
	t.Helper()
	st, err := store.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	var built []store.DrvID
	for text := range drvs {
		drv, err := store.ParseDrvID(text)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := st.Derivation(drv); err == nil { // a fetch is known by its content alone
			built = append(built, drv)
		}
	}
	known, err := st.Lookup(built)
	if err != nil {
		t.Fatal(err)
	}
	for _, drv := range built {
		if len(known[drv]) != 1 {
			t.Errorf("derivation %s: it gave %v", drv, known[drv])
			continue
		}
		if has, err := st.Has(known[drv][0]); err != nil || !has {
			t.Errorf("derivation %s: its artifact: %v, %v", drv, has, err)
		}
	}
	if len(built) == 0 {
		t.Error("no derivation is known")
	}
}

// TestTakeOver kills a process while it builds. Another one, which waited and said for whom, builds.
func TestTakeOver(t *testing.T) {
	r := newRealm(t, t.TempDir())
	r.mirror(t, 2, "1")
	r.release(t, "small", "one: p00 | p01")
	args := []string{"realize", "small", "--json", "--store", "store"}

	building, die := make(chan struct{}), make(chan struct{})
	first := r.rpcbuild(t.Context(), args...)
	var wg sync.WaitGroup
	wg.Go(func() {
		// It stands still where it reads what the build gave, until it is killed there.
		err := faulttest.Run(first, r.dir, func(c faulttest.Call) faulttest.Verdict {
			if !slices.ContainsFunc(c.Paths, func(p string) bool { return strings.HasSuffix(p, "/result.json") }) {
				return faulttest.Verdict{}
			}
			close(building)
			<-die
			return faulttest.Verdict{Kill: true}
		})
		if err == nil {
			t.Error("the first one was not killed")
		}
	})
	<-building
	second := r.rpcbuild(t.Context(), args...)
	var out bytes.Buffer
	stderr, err := second.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	said := bufio.NewReader(stderr)
	second.Stdout = &out
	if err := second.Start(); err != nil {
		t.Fatal(err)
	}
	waits := readUntil(t, said, "waiting")
	want := fmt.Sprintf("waiting   apt/independent/one  for process %d on ", first.Process.Pid)
	if !strings.Contains(waits, want) || !strings.Contains(waits, time.Now().UTC().Format(", since 2006-01-02T")) {
		t.Errorf("the second one says %q, want %q and since when", waits, want)
	}
	close(die)
	wg.Wait()
	readUntil(t, said, "")
	if err := second.Wait(); err != nil {
		t.Error(err)
	}
	built := 0
	for _, outcome := range doneIn(t, out.String()) {
		if outcome == "built" {
			built++
		}
	}
	if built != 1 {
		t.Errorf("the second one built %d\n%s", built, &out)
	}
	if err := storetest.Audit(r.path("store")); err != nil {
		t.Error(err)
	}
	r.run(t, "verify", "small", "--store", "store")
	if left, _ := storetest.Left(r.path("store")); len(left) > 0 {
		t.Errorf("temporary files are left: %v", left)
	}
}

// readUntil reads lines up to one that contains text, and returns it; or all of them.
func readUntil(t *testing.T, r *bufio.Reader, text string) string {
	t.Helper()
	for {
		line, err := r.ReadString('\n')
		if err == io.EOF {
			return line
		}
		if err != nil {
			t.Fatal(err)
		}
		if text != "" && strings.Contains(line, text) {
			return line
		}
	}
}
