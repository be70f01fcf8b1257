package store

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"
)

// soak returns how often a test does what CI does quickly: SOAK times, if that is set.
func soak(quick int) int {
	if n, err := strconv.Atoi(os.Getenv("SOAK")); err == nil && n > 0 {
		return n
	}
	return quick
}

// TestKilledGC kills gc at random moments. What roots reach is whole each time, nothing else is
// damaged, and the last gc, which nobody kills, leaves nothing behind.
func TestKilledGC(t *testing.T) {
	dir := t.TempDir()
	s := opened(t, dir)
	var kept []built
	for i := range 5 {
		kept = append(kept, build(t, s, fmt.Sprint("kept", i)))
	}
	root(t, s, "release", "lock", kept...)
	s.Close()
	killed := 0
	for round := range soak(12) {
		s := opened(t, dir)
		for i := range 20 {
			build(t, s, fmt.Sprint("garbage", round%2, i))
		}
		s.Close()
		time.Sleep(10 * time.Millisecond)
		cmd, out := helper(t, "gc", dir)
		out.Scan()
		time.Sleep(rand.N(100 * time.Millisecond))
		cmd.Process.Kill()
		if cmd.Wait() != nil {
			killed++
		}
		s = opened(t, dir)
		clean(t, s)
		s.Close()
	}
	t.Logf("killed %d", killed)
	time.Sleep(10 * time.Millisecond)
	s = opened(t, dir)
	gc(t, s, GCOptions{})
	s = later(t, s)
	if r := clean(t, s); r.Artifacts != len(kept) || r.Blobs != len(kept)+1 || r.Statements != len(kept) || r.Unindexed != 0 {
		t.Errorf("left %+v", r)
	}
	for _, b := range kept {
		holds(t, s, b, true)
	}
}

// TestGCWhileProcessesBuild has processes that build, and die at random, beside one that collects.
func TestGCWhileProcessesBuild(t *testing.T) {
	dir := t.TempDir()
	opened(t, dir).Close()
	var builders []*exec.Cmd
	for range 8 {
		cmd, _ := helper(t, "build", dir)
		builders = append(builders, cmd)
	}
	ended := make(chan error, len(builders))
	for i, cmd := range builders {
		if i < 2 {
			time.AfterFunc(rand.N(300*time.Millisecond), func() { cmd.Process.Kill() })
		}
		go func() {
			err := cmd.Wait()
			if i < 2 {
				err = nil
			}
			ended <- err
		}()
	}
	for left := len(builders); left > 0; {
		select {
		case err := <-ended:
			left--
			if err != nil {
				t.Error(err)
			}
		default:
			s := opened(t, dir)
			gc(t, s, GCOptions{})
			s.Close()
		}
	}
	s := opened(t, dir)
	defer s.Close()
	clean(t, s)
}
