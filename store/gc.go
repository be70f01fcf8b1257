package store

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// GCOptions say what gc leaves.
type GCOptions struct {
	// Keep is how many roots of each release stay, at least one.
	Keep int
	// MaxSize, if not 0, is how many bytes of disk the store may take: to reach it, unpacked trees go,
	// then further roots, the oldest first, but never a pin or the newest root of a release.
	MaxSize int64
	// Grace spares what was used in that time, also if no root reaches it.
	Grace time.Duration
	// DryRun removes nothing.
	DryRun bool
}

// A GCReport says what gc removed, or would remove.
type GCReport struct {
	Dropped []Root   // roots
	Removed []Amount // by what it was
	// Size is what the store then takes, in bytes of disk, if MaxSize was set; Over is by how much that
	// is too much.
	Size, Over int64
}

// An Amount is how much there is of something.
type Amount struct {
	What  string
	Count int
	Bytes int64 // of disk
}

// upkeepLock is a file that gc holds shared, and whoever makes a new index exclusively.
const upkeepLock = "upkeep.lock"

// GC removes what no root reaches and no living session touched. Others may use the store, and
// collect garbage in it, at the same time: they wait for no longer than some milliseconds. Wherever it
// ends, by an error or a crash, the store is whole, and the next call carries on.
func (s *Store) GC(ctx context.Context, o GCOptions) (GCReport, error) {
	var report GCReport
	unlock, err := s.lockUpkeep(unix.LOCK_SH)
	if err != nil {
		return report, fmt.Errorf("collect garbage: %w", err)
	}
	defer unlock()
	oldest, err := s.oldestSession()
	if err != nil {
		return report, fmt.Errorf("collect garbage: %w", err)
	}
	g, err := s.plan(ctx, o, oldest-int64(o.Grace), &report)
	if err != nil {
		return report, fmt.Errorf("collect garbage: %w", err)
	}
	amounts := &g.found
	if !o.DryRun {
		amounts, err = s.sweepGarbage(ctx, g, report.Dropped)
	}
	report.Removed = amounts.list()
	if err != nil {
		err = fmt.Errorf("collect garbage: %w", err)
	}
	return report, err
}

// plan decides which roots stay, and finds out what then is garbage.
func (s *Store) plan(ctx context.Context, o GCOptions, cutoff int64, report *GCReport) (*garbage, error) {
	roots, err := s.Roots()
	if err != nil {
		return nil, err
	}
	kept, dropped := keepNewest(roots, max(o.Keep, 1))
	var before int64
	if o.MaxSize > 0 {
		if before, err = roomBelow(s.dir); err != nil {
			return nil, err
		}
	}
	for {
		m, err := s.mark(ctx, kept, cutoff)
		if err != nil {
			return nil, err
		}
		g, err := s.findGarbage(ctx, m)
		if err != nil {
			return nil, err
		}
		report.Dropped = dropped
		if o.MaxSize == 0 {
			return g, nil
		}
		g.dropTrees(before - g.found.bytes() - o.MaxSize)
		report.Size = before - g.found.bytes()
		report.Over = max(0, report.Size-o.MaxSize)
		oldest := oldestOf(kept)
		if report.Over == 0 || oldest < 0 {
			return g, nil
		}
		dropped = append(dropped, kept[oldest])
		kept = slices.Delete(kept, oldest, oldest+1)
	}
}

// keepNewest parts roots, which are in order of time, into those that stay and those that go.
func keepNewest(roots []Root, keep int) (kept, dropped []Root) {
	left := make(map[string]int)
	for _, r := range slices.Backward(roots) {
		if r.Pin == "" {
			left[r.Release]++
			if left[r.Release] > keep {
				dropped = append(dropped, r)
				continue
			}
		}
		kept = append(kept, r)
	}
	slices.Reverse(kept)
	slices.Reverse(dropped)
	return kept, dropped
}

// oldestOf returns the index of the oldest root that may go, or -1.
func oldestOf(roots []Root) int {
	oldest := -1
	for i, r := range roots {
		newest := i+1 == len(roots) || roots[i+1].Release != r.Release || roots[i+1].Pin != ""
		if r.Pin == "" && !newest && (oldest < 0 || r.Time.Before(roots[oldest].Time)) {
			oldest = i
		}
	}
	return oldest
}

func (s *Store) lockUpkeep(how int) (unlock func(), err error) {
	f, err := os.OpenFile(s.path(upkeepLock), os.O_RDONLY|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	if err := flock(f, how); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	return func() { f.Close() }, nil
}

// room returns how many bytes of disk a file takes.
func room(st *unix.Stat_t) int64 { return st.Blocks * 512 }

// roomBelow returns how many bytes of disk a folder takes with all below it. Others may change it
// meanwhile.
func roomBelow(dir string) (int64, error) {
	type inode struct{ dev, ino uint64 }
	linked := make(map[inode]bool) // of files that have several names
	var total int64
	err := filepath.WalkDir(dir, func(name string, _ os.DirEntry, err error) error {
		var st unix.Stat_t
		if err == nil {
			err = unix.Lstat(name, &st)
		}
		if gone(err) {
			return nil
		}
		if err != nil {
			return err
		}
		if st.Mode&unix.S_IFMT != unix.S_IFDIR && st.Nlink > 1 {
			i := inode{st.Dev, st.Ino}
			if linked[i] {
				return nil
			}
			linked[i] = true
		}
		total += room(&st)
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("measure %s: %w", dir, err)
	}
	return total, nil
}
