package storetest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rcbops/rpcbuild/store"
	"github.com/rcbops/rpcbuild/store/faulttest"
	"github.com/rcbops/rpcbuild/store/storetest"
)

// commit does all that a build does with a store: it opens it, holds a lock, adds content, trees, a
// derivation, what it gave, a log and an unpacked tree, and looks all of it up. It is what runs while
// calls fail.
func commit(dir string) (err error) {
	s, err := store.Open(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	ctx := context.Background()
	drv, err := s.PutDerivation([]byte(`{"name":"commit"}`))
	if err != nil {
		return err
	}
	unlock, err := s.Lock(ctx, drv, nil)
	if err != nil {
		return err
	}
	defer unlock()
	content := bytes.Repeat([]byte("downloaded"), 10<<10)
	if err := s.PutBlob(ctx, bytes.NewReader(content), store.HashBlob(content)); err != nil {
		return err
	}
	log, err := s.CreateLog(drv)
	if err != nil {
		return err
	}
	if err := errors.Join(log.Close()); err != nil {
		return err
	}
	partial := []byte("adopted")
	if err := os.WriteFile(s.PartialPath(store.HashBlob(partial)), partial, 0o644); err != nil {
		return err
	}
	if err := s.AdoptBlob(s.PartialPath(store.HashBlob(partial)), store.HashBlob(partial)); err != nil {
		return err
	}
	for _, files := range []int{3, 40} { // synced one by one, and with the file system
		if err := commitTree(ctx, s, drv, files); err != nil {
			return err
		}
	}
	return nil
}

func commitTree(ctx context.Context, s *store.Store, drv store.DrvID, files int) error {
	dir, err := s.TempDir("output")
	if err != nil {
		return err
	}
	for i := range files {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint("file", i)), fmt.Append(nil, files, i/2), 0o644); err != nil {
			return err
		}
	}
	m := &store.Manifest{}
	id, err := s.AddTree(ctx, dir, m)
	if err != nil {
		return err
	}
	drv = store.HashDrv(fmt.Append(nil, drv, files))
	if err := s.AddRealisation(store.Realisation{Drv: drv, Artifact: id, Builder: "test", Size: m.Size()}, nil); err != nil {
		return err
	}
	out, err := s.TempDir("input")
	if err != nil {
		return err
	}
	if err := s.Materialize(id, filepath.Join(out, "tree")); err != nil {
		return err
	}
	_, err = s.Tree(id, func(_ *store.Manifest, dir string) error {
		return os.WriteFile(filepath.Join(dir, "unpacked"), []byte("unpacked"), 0o644)
	})
	if err != nil {
		return err
	}
	found, err := s.Lookup([]store.DrvID{drv})
	if err != nil {
		return err
	}
	if len(found[drv]) != 1 || found[drv][0] != id {
		return fmt.Errorf("derivation %s: it gave %v, want %s", drv, found[drv], id)
	}
	return nil
}

// commitIn runs commit in a process of its own, and asks about its calls.
func commitIn(t *testing.T, dir string, decide func(faulttest.Call) faulttest.Verdict) (said string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], dir)
	cmd.Env = append(os.Environ(), "STORETEST_COMMIT=1")
	var b bytes.Buffer
	cmd.Stderr = &b
	err = faulttest.Run(cmd, dir, decide)
	if ctx.Err() != nil {
		t.Fatalf("it hangs: %s", &b)
	}
	return b.String(), err
}

// TestFaults lets each call that a commit makes fail in each way that it can: the commit says so, or is
// done without, and leaves a store in which all is right, and in which it can be done again.
func TestFaults(t *testing.T) {
	counts := make(faulttest.Counts)
	if said, err := commitIn(t, faulttest.Dir(t), counts.Count); err != nil {
		t.Fatal(err, said)
	}
	most, seed := faulttest.Sample(4)
	faults := counts.Faults(most, rand.New(rand.NewPCG(seed, 0)))
	t.Logf("calls %v, faults %d, seed %d", counts, len(faults), seed)
	reached := make(map[string]int)
	for _, f := range faults {
		t.Run(f.String(), func(t *testing.T) {
			dir := faulttest.Dir(t)
			var hit *faulttest.Call
			said, err := commitIn(t, dir, f.Decide(func(c faulttest.Call) { hit = &c }))
			if hit == nil {
				return
			}
			reached[f.Call]++
			wantClear(t, dir, f, *hit, said, err)
			if err := storetest.Audit(dir); err != nil {
				t.Errorf("after %s of %s: %v", f, hit.Paths, err)
			}
			if err := commit(dir); err != nil {
				t.Errorf("again, without a fault: %v", err)
			}
			if err := storetest.Audit(dir); err != nil {
				t.Errorf("after it was done again: %v", err)
			}
			if left, _ := storetest.Left(dir); len(left) > 0 {
				t.Errorf("temporary files are left: %v", left)
			}
		})
	}
	for name, n := range counts {
		if reached[name] == 0 && n > 0 {
			t.Errorf("no %s of %d failed", name, n)
		}
	}
}

var id = regexp.MustCompile(`[0-9a-f]{64}`)

// wantClear wants that a commit says what went wrong, or that the fault did not matter. What was to
// make something durable always matters.
func wantClear(t *testing.T, dir string, f faulttest.Fault, c faulttest.Call, said string, err error) {
	t.Helper()
	var exit *exec.ExitError
	switch {
	case err == nil && (f.Call == "fsync" || f.Call == "fdatasync" || f.Call == "syncfs"):
		t.Errorf("%s of %s: it went on", f, c.Paths)
	case err == nil:
	case !errors.As(err, &exit) || exit.ExitCode() != 1:
		t.Errorf("%s of %s: %v\n%s", f, c.Paths, err, said)
	case !strings.Contains(said, syscall.Errno(f.Errno).Error()):
		t.Errorf("%s of %s: it does not say what went wrong: %s", f, c.Paths, said)
	case !strings.Contains(said, dir) && !id.MatchString(said):
		t.Errorf("%s of %s: it does not say where: %s", f, c.Paths, said)
	}
}

// TestKilledAtEachCall kills a commit at each call that it makes.
func TestKilledAtEachCall(t *testing.T) {
	counts := make(faulttest.Counts)
	if said, err := commitIn(t, faulttest.Dir(t), counts.Count); err != nil {
		t.Fatal(err, said)
	}
	total := 0
	for _, n := range counts {
		total += n
	}
	most, seed := faulttest.Sample(40)
	for _, n := range faulttest.Choose(total, most, rand.New(rand.NewPCG(seed, 0))) {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			dir, calls := faulttest.Dir(t), 0
			var hit faulttest.Call
			said, err := commitIn(t, dir, func(c faulttest.Call) faulttest.Verdict {
				calls++
				if calls != n {
					return faulttest.Verdict{}
				}
				hit = c
				return faulttest.Verdict{Kill: true}
			})
			if err == nil {
				return // it made fewer calls than the first time
			}
			if !strings.Contains(err.Error(), unix.SIGKILL.String()) {
				t.Errorf("%v\n%s", err, said)
			}
			if err := storetest.Audit(dir); err != nil {
				t.Errorf("killed at %v: %v", hit, err)
			}
			if err := commit(dir); err != nil {
				t.Errorf("killed at %v, and done again: %v", hit, err)
			}
			if err := storetest.Audit(dir); err != nil {
				t.Errorf("killed at %v, and done again: %v", hit, err)
			}
			if left, _ := storetest.Left(dir); len(left) > 0 {
				t.Errorf("temporary files are left: %v", left)
			}
		})
	}
}
