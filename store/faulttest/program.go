package faulttest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A Program is what a test lets fail at each of its calls, in runs side by side.
type Program struct {
	// Setup makes what one run works on, and returns its folder.
	Setup func(t *testing.T) (dir string)
	// Command is the program that works on it. It ends with status 1 and its error on standard error.
	Command func(ctx context.Context, dir string) *exec.Cmd
	// After finds that all is right in the folder after the program failed, does the same again
	// without a fault, and finds that right.
	After func(t *testing.T, dir string)
}

// hang is when a program that did not end is told to have hung.
const hang = 30 * time.Second

// run runs the program once.
func (p Program) run(t *testing.T, dir string, decide func(Call) Verdict) (said string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), hang)
	defer cancel()
	cmd := p.Command(ctx, dir)
	var b bytes.Buffer
	cmd.Stderr = &b
	err = Run(cmd, dir, decide)
	if ctx.Err() != nil {
		t.Fatalf("it hangs: %s", &b)
	}
	return b.String(), err
}

func (p Program) count(t *testing.T) Counts {
	t.Helper()
	counts := make(Counts)
	if said, err := p.run(t, p.Setup(t), counts.Count); err != nil {
		t.Fatalf("without a fault: %v\n%s", err, said)
	}
	return counts
}

// TestFaults lets each call fail in each way that it can, or about most of each name: the program says
// so, or does without.
func (p Program) TestFaults(t *testing.T, most int) {
	counts := p.count(t)
	most, seed := Sample(most)
	faults := counts.Faults(most, rand.New(rand.NewPCG(seed, 0)))
	t.Logf("%d faults of the calls %v, TEST_SEED=%d", len(faults), counts, seed)
	var mu sync.Mutex
	reached := make(Counts)
	for _, f := range faults {
		t.Run(f.String(), func(t *testing.T) {
			t.Parallel()
			dir := p.Setup(t)
			var hit *Call
			said, err := p.run(t, dir, f.Decide(func(c Call) { hit = &c }))
			if hit == nil {
				return // it made fewer calls than the first time
			}
			mu.Lock()
			reached[f.Call]++
			mu.Unlock()
			wantClear(t, f, *hit, said, err)
			p.After(t, dir)
			if t.Failed() {
				t.Logf("the fault: %s %s; the program: %v %s", f, hit.Paths, err, said)
			}
		})
	}
	start := time.Now()
	t.Cleanup(func() { // when all have ended
		t.Logf("met %d of %d faults in %v: %v", reached.sum(), len(faults), time.Since(start).Round(time.Second), reached)
		for _, f := range faults {
			if reached[f.Call] == 0 {
				t.Errorf("no %s of %d failed", f.Call, counts[f.Call])
			}
		}
	})
}

// where is what an error is to name: a path, a digest, or the name of an artifact.
var where = regexp.MustCompile(`/|[0-9a-f]{64}`)

// wantClear wants that the program says what went wrong, or that the fault did not matter. What was to
// make something durable always matters.
func wantClear(t *testing.T, f Fault, c Call, said string, err error) {
	t.Helper()
	durable := f.Call == "fsync" || f.Call == "fdatasync" || f.Call == "syncfs"
	var exit *exec.ExitError
	switch {
	case err == nil && durable:
		t.Errorf("%s of %s: it went on", f, c.Paths)
	case err == nil:
	case !errors.As(err, &exit) || exit.ExitCode() != 1:
		t.Errorf("%s of %s: %v\n%s", f, c.Paths, err, said)
	case f.Call == "newfstatat" && strings.Contains(said, unix.EEXIST.Error()): // so os.MkdirAll says it
	case !strings.Contains(said, f.Errno.Error()):
		t.Errorf("%s of %s: it does not say what went wrong: %s", f, c.Paths, said)
	case !where.MatchString(strings.ReplaceAll(said, f.Errno.Error(), "")): // which says input/output
		t.Errorf("%s of %s: it does not say where: %s", f, c.Paths, said)
	}
}

// TestKilled kills the program at each call, or at about most of them.
func (p Program) TestKilled(t *testing.T, most int) {
	total := p.count(t).sum()
	most, seed := Sample(most)
	t.Logf("%d calls, TEST_SEED=%d", total, seed)
	numbers := Choose(total, most, rand.New(rand.NewPCG(seed, 0)))
	var kills atomic.Int64
	start := time.Now()
	t.Cleanup(func() {
		t.Logf("killed it at %d of %d calls in %v", kills.Load(), len(numbers), time.Since(start).Round(time.Second))
	})
	for _, n := range numbers {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			dir, calls := p.Setup(t), 0
			var hit Call
			said, err := p.run(t, dir, func(c Call) Verdict {
				if calls++; calls != n {
					return Verdict{}
				}
				hit = c
				return Verdict{Kill: true}
			})
			if err == nil {
				return // it made fewer calls than the first time
			}
			kills.Add(1)
			if !strings.Contains(err.Error(), unix.SIGKILL.String()) {
				t.Errorf("killed at %v: %v\n%s", hit, err, said)
			}
			p.After(t, dir)
			if t.Failed() {
				t.Logf("killed at %v", hit)
			}
		})
	}
}
