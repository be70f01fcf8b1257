package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

func TestLockOfAKilledProcessIsTakenOver(t *testing.T) {
	s := open(t)
	drv := HashDrv([]byte("locked"))
	other := readyHelper(t, "lock", s.Dir())

	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	var holders []Holder
	if _, err := s.Lock(ctx, drv, func(h Holder) { holders = append(holders, h) }); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got the lock of a living process: %v", err)
	}
	if len(holders) != 1 || holders[0].PID != other.Process.Pid || !strings.Contains(holders[0].String(), fmt.Sprint(other.Process.Pid)) {
		t.Errorf("holders %v, want process %d once", holders, other.Process.Pid)
	}
	if unlock, err := s.Lock(context.Background(), HashDrv([]byte("another")), nil); err != nil {
		t.Errorf("another derivation: %v", err)
	} else {
		unlock()
	}

	time.AfterFunc(100*time.Millisecond, func() { other.Process.Kill() })
	unlock, err := s.Lock(context.Background(), drv, nil)
	if err != nil {
		t.Fatal(err)
	}
	unlock()
	if left, _ := os.ReadDir(s.path(lockDir)); len(left) != 0 {
		t.Errorf("lock files are left: %v", left)
	}
}

func TestLockIsExclusive(t *testing.T) {
	s := open(t)
	var inside, total atomic.Int32
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 5 {
				unlock, err := s.LockBlob(context.Background(), HashBlob(nil), nil)
				if err != nil {
					t.Error(err)
					return
				}
				if n := inside.Add(1); n != 1 {
					t.Errorf("%d inside", n)
				}
				total.Add(1)
				inside.Add(-1)
				unlock()
			}
		})
	}
	wg.Wait()
	if n := total.Load(); n != 40 {
		t.Errorf("%d, want 40", n)
	}
}

func TestTemporaryFilesOfAKilledProcess(t *testing.T) {
	dir := t.TempDir()
	living, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer living.Close()
	mine := tree(t, living, map[string]string{"f": "x"})

	other := readyHelper(t, "temp", dir)
	if n := count(t, living.path(tmpDir)); n != 2 {
		t.Fatalf("%d temporary files, want 2", n)
	}
	other.Process.Kill()
	other.Wait()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if n := count(t, living.path(tmpDir)); n != 1 {
		t.Errorf("%d temporary files, want that of the living process", n)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(mine); err != nil {
		t.Error(err)
	}
}

// TestOpenAtTheSameTime has every opener sweep while others enter.
func TestOpenAtTheSameTime(t *testing.T) {
	dir := t.TempDir()
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for range 5 {
				s, err := Open(dir)
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := s.TempDir("x"); err != nil {
					t.Error(err)
				}
				if _, err := s.Lookup([]DrvID{HashDrv(nil)}); err != nil {
					t.Error(err)
				}
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if left, _ := os.ReadDir(dir + "/tmp"); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

func TestIndexThatAnotherProcessHoldsIsWaitedFor(t *testing.T) {
	s := open(t)
	r := realisation("drv", "artifact")
	readyHelper(t, "index", s.Dir())
	start := time.Now()
	if err := s.AddRealisation(r, nil); err != nil {
		t.Fatal(err)
	}
	if time.Since(start) < 100*time.Millisecond {
		t.Error("it did not wait")
	}
	if found, err := s.Lookup([]DrvID{r.Drv}); err != nil || len(found) != 1 {
		t.Errorf("got %v, %v", found, err)
	}
}

// TestIndexIsReadAsOthersLeaveIt: who has read the index finds in it what another one adds, also in a
// file that grows meanwhile, and in the one that replaces it.
func TestIndexIsReadAsOthersLeaveIt(t *testing.T) {
	s := open(t)
	other := opened(t, s.Dir())
	defer other.Close()
	var adds []DrvID
	add := func(n int) {
		t.Helper()
		var g errgroup.Group
		for range n {
			r := realisation(fmt.Sprint(len(adds)), "artifact")
			adds = append(adds, r.Drv)
			g.Go(func() error { return other.AddRealisation(r, nil) })
		}
		if err := g.Wait(); err != nil {
			t.Fatal(err)
		}
	}
	finds := func() {
		t.Helper()
		if found, err := s.Lookup(adds); err != nil || len(found) != len(adds) {
			t.Fatalf("found %d of %d, %v", len(found), len(adds), err)
		}
	}
	size := func() int64 {
		fi, err := os.Stat(s.path(indexName))
		if err != nil {
			t.Fatal(err)
		}
		return fi.Size()
	}
	finds()
	add(1)
	finds()
	for before := size(); size() == before; {
		add(200)
	}
	finds()
	if _, err := other.Reindex(context.Background()); err != nil {
		t.Fatal(err)
	}
	add(1)
	finds()
}

// putMany puts what every process of a test puts.
func putMany(s *Store) error {
	var wg sync.WaitGroup
	errs := make([]error, 20)
	for i := range errs {
		wg.Go(func() {
			content := fmt.Sprintf("content %d", i%7)
			b := HashBlob([]byte(content))
			if errs[i] = s.PutBlob(context.Background(), strings.NewReader(content), b); errs[i] != nil {
				return
			}
			id, err := s.PutManifest(SingleFile(fmt.Sprint("f", i), b))
			if err == nil {
				err = s.AddRealisation(Realisation{Drv: HashDrv([]byte(fmt.Sprint(i))), Artifact: id, Builder: fmt.Sprint(os.Getpid())}, nil)
			}
			errs[i] = err
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

func TestManyProcessesPutAtOnce(t *testing.T) {
	s := open(t)
	var others []interface{ Wait() error }
	for range 4 {
		cmd, _ := helper(t, "put", s.Dir())
		others = append(others, cmd)
	}
	if err := putMany(s); err != nil {
		t.Error(err)
	}
	for _, cmd := range others {
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	}
	for i := range 20 {
		found, err := s.Lookup([]DrvID{HashDrv([]byte(fmt.Sprint(i)))})
		if err != nil {
			t.Fatal(err)
		}
		for _, ids := range found {
			if len(ids) != 1 {
				t.Errorf("%d: %v", i, ids)
			}
			if has, err := s.Has(ids[0]); err != nil || !has {
				t.Errorf("%d: Has = %v, %v", i, has, err)
			}
			if _, err := s.Manifest(ids[0]); err != nil {
				t.Error(err)
			}
		}
		if len(found) != 1 {
			t.Errorf("%d is not known", i)
		}
	}
	if n := count(t, s.path(blobDir)); n != 7 {
		t.Errorf("%d blobs, want 7", n)
	}
}

func TestKeep(t *testing.T) {
	s := open(t)
	kept := s.Keep(tree(t, s, map[string]string{"f": "x"}))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(kept + "/f"); err != nil || string(b) != "x" {
		t.Errorf("got %q, %v", b, err)
	}
}

func TestLogs(t *testing.T) {
	s := open(t)
	drv := HashDrv([]byte("logged"))
	if _, err := s.OpenLog(drv); !errors.Is(err, ErrNotFound) {
		t.Errorf("before: %v", err)
	}
	for _, text := range []string{"a long first one", "second"} {
		f, err := s.CreateLog(drv)
		if err != nil {
			t.Fatal(err)
		}
		f.WriteString(text)
		f.Close()
	}
	f, err := s.OpenLog(drv)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if b, err := os.ReadFile(f.Name()); err != nil || string(b) != "second" {
		t.Errorf("got %q, %v", b, err)
	}
}

// BenchmarkLookup is S1's share of the store: 200 derivations, all there.
func BenchmarkLookup(b *testing.B) {
	s := open(b)
	drvs := make([]DrvID, 200)
	var wg sync.WaitGroup
	for i := range drvs {
		drvs[i] = HashDrv([]byte(fmt.Sprint(i)))
		wg.Go(func() {
			if err := s.AddRealisation(Realisation{Drv: drvs[i], Artifact: HashArtifact([]byte(fmt.Sprint(i)))}, nil); err != nil {
				b.Error(err)
			}
		})
	}
	wg.Wait()
	for b.Loop() {
		found, err := s.Lookup(drvs)
		if err != nil || len(found) != len(drvs) {
			b.Fatal(len(found), err)
		}
	}
}
