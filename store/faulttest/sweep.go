package faulttest

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// A Fault is one call that fails, in one run of a program.
type Fault struct {
	Call  string
	N     int // it is the Nth of its name, from 1
	Errno syscall.Errno
}

func (f Fault) String() string { return fmt.Sprintf("%s %d: %s", f.Call, f.N, unix.ErrnoName(f.Errno)) }

// Counts are how many calls of each name a program made.
type Counts map[string]int

// Count is a decision that lets everything happen, and counts it.
func (c Counts) Count(call Call) Verdict {
	c[call.Name]++
	return Verdict{}
}

func (c Counts) sum() (n int) {
	for _, of := range c {
		n += of
	}
	return n
}

// Decide returns a decision that lets the call of the fault fail, and tells of it.
func (f Fault) Decide(hit func(Call)) func(Call) Verdict {
	counts := make(Counts)
	return func(c Call) Verdict {
		counts[c.Name]++
		if c.Name != f.Call || counts[c.Name] != f.N {
			return Verdict{}
		}
		hit(c)
		return Verdict{Errno: f.Errno}
	}
}

// What may come of a call: a disk that is broken or full, permissions that are wrong, no memory.
var (
	reads    = []syscall.Errno{unix.EIO}
	changes  = []syscall.Errno{unix.EIO, unix.ENOSPC, unix.EACCES}
	contents = []syscall.Errno{unix.EIO, unix.ENOSPC}
)

var errnos = map[string][]syscall.Errno{
	"openat": {unix.EIO, unix.EACCES}, creat: changes, "renameat": changes, "renameat2": changes, "linkat": changes, "symlinkat": changes,
	"mkdirat": changes, "unlinkat": {unix.EIO, unix.EACCES}, "fchmod": {unix.EIO, unix.EACCES},
	"fchmodat": {unix.EIO, unix.EACCES}, "utimensat": {unix.EIO, unix.EACCES},
	"write": contents, "pwrite64": contents, "copy_file_range": contents, "sendfile": contents, "ftruncate": contents,
	"fallocate": contents, "fsync": contents, "fdatasync": contents, "syncfs": contents,
	"read": reads, "pread64": reads, "newfstatat": {unix.EIO, unix.EACCES}, "fstat": reads, "getdents64": reads,
	"flock": {unix.EIO, unix.ENOLCK}, "mmap": {unix.EIO, unix.ENOMEM},
}

// Faults returns the faults that a program can meet that made so many calls: each call once with each
// error that it can have. Of a call of which there are more than most, so many are chosen, the first
// and the last among them; most 0 chooses all.
func (c Counts) Faults(most int, random *rand.Rand) []Fault {
	var all []Fault
	for _, name := range slices.Sorted(maps.Keys(c)) {
		for _, e := range errnos[name] {
			for _, n := range Choose(c[name], most, random) {
				all = append(all, Fault{name, n, e})
			}
		}
	}
	return all
}

// Choose returns numbers from 1 to n: all if most is 0, or about most of them, one of each of as many stretches.
func Choose(n, most int, random *rand.Rand) []int {
	var chosen []int
	if most <= 2 || n <= most {
		for i := range n {
			chosen = append(chosen, i+1)
		}
		return chosen
	}
	chosen = []int{1, n}
	for i := range most - 2 {
		from, to := 1+(n-2)*i/(most-2), 1+(n-2)*(i+1)/(most-2)
		chosen = append(chosen, from+1+random.IntN(max(1, to-from)))
	}
	slices.Sort(chosen)
	return slices.Compact(chosen)
}

// Sample returns how many cases of a kind a test is to try, and the seed of their choice, which it is
// to log. TEST_SEED gives the seed; SOAK=all tries everything.
func Sample(quick int) (most int, seed uint64) {
	seed, err := strconv.ParseUint(os.Getenv("TEST_SEED"), 10, 64)
	if err != nil {
		seed = rand.Uint64N(1 << 32)
	}
	if os.Getenv("SOAK") != "" {
		return 0, seed
	}
	return quick, seed
}

// Dir is t.TempDir in memory, where that is offered: tests of thousands of commits are about their
// calls, and need not wait for a disk.
func Dir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "rpcbuild-test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}
