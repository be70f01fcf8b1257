package cache

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"testing"
	"time"
)

func leaseRepo(t *testing.T) (*Repo, Writer) {
	t.Helper()
	r, err := Open(t.TempDir(), Options{Create: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r, r.backend.(Writer)
}

// Pushes go on side by side, and a gc alone.
func TestLease(t *testing.T) {
	r, w := leaseRepo(t)
	enter := func(kind string) (*tenure, error) {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		return r.enter(ctx, w, kind, nil)
	}
	first, err := enter(leasePush)
	if err != nil {
		t.Fatal(err)
	}
	second, err := enter(leasePush)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := enter(leaseGC); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a gc beside pushes: %v", err)
	}
	for _, l := range []*tenure{first, second} {
		if err := errors.Join(l.hold(t.Context()), l.held(), l.leave(t.Context())); err != nil {
			t.Error(err)
		}
	}
	gc, err := enter(leaseGC)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := enter(leasePush); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a push beside a gc: %v", err)
	}
	if err := gc.leave(t.Context()); err != nil {
		t.Error(err)
	}
}

// Who died keeps nobody out, and who was taken for dead finds out.
func TestLeaseOfTheDead(t *testing.T) {
	r, w := leaseRepo(t)
	sleep := exec.Command("sleep", "60")
	if err := sleep.Start(); err != nil {
		t.Fatal(err)
	}
	l, err := r.enter(t.Context(), w, leasePush, nil)
	if err != nil {
		t.Fatal(err)
	}
	l.mine.Process = processName(sleep.Process.Pid)
	if l.mine.Process == "" || processGone(l.mine.Process) || processGone(processName(os.Getpid())) {
		t.Fatalf("%q: want a process that lives", l.mine.Process)
	}
	if err := l.hold(t.Context()); err != nil {
		t.Fatal(err)
	}
	sleep.Process.Kill()
	sleep.Wait()
	gc, err := r.enter(t.Context(), w, leaseGC, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.hold(t.Context()); !errors.Is(err, errAway) {
		t.Errorf("who was taken for dead: %v", err)
	}
	if err := gc.leave(t.Context()); err != nil {
		t.Error(err)
	}
	for name, process := range map[string]string{"another machine": "boot pid:[1] 1 2", "unknown": "", "garbage": "x"} {
		if processGone(process) {
			t.Errorf("%s: want no certainty", name)
		}
	}
}
