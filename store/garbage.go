package store

import (
	"cmp"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// garbage is what may go, by the marks.
type garbage struct {
	*marks
	oldBlobs []id
	trees    []unpacked
	files    []file // that only their time of change protects

	unused []unpacked // that could go, too, the longest unused first
	found  tally
}

// What gc calls the things that it removes.
const (
	anArtifact   = "artifact"
	aDerivation  = "derivation"
	aBlob        = "blob"
	aTree        = "unpacked tree"
	aLog         = "log"
	aPartial     = "partial download"
	aLockFile    = "lock file"
	aDamagedFile = "damaged file"
)

type unpacked struct {
	path    string
	changed int64 // when it was last used
	room    int64
}

type file struct {
	what, path string
	drv        DrvID // of a log
	before     int64 // it goes only if it was changed before
}

// partialAge is how long a download that did not end, and what repair took out, is of interest.
const partialAge = 7 * 24 * time.Hour

func (s *Store) findGarbage(ctx context.Context, m *marks) (*garbage, error) {
	g := &garbage{marks: m}
	for _, a := range m.old.artifacts {
		g.found.file(anArtifact, s.fanout(artifactDir, a.String()))
	}
	for _, drv := range m.old.drvs {
		g.found.add(aDerivation, 1, s.derivationRoom(drv))
	}
	var mu sync.Mutex
	err := s.walkFanout(ctx, blobDir, func(i id, path string) error {
		if m.blobs.has(i) {
			return nil
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); gone(err) || err == nil && st.Mtim.Nano() >= m.cutoff {
			return nil
		} else if err != nil {
			return &os.PathError{Op: "stat", Path: path, Err: err}
		}
		g.found.add(aBlob, 1, room(&st))
		mu.Lock()
		defer mu.Unlock()
		g.oldBlobs = append(g.oldBlobs, i)
		return nil
	})
	for _, find := range []func() error{
		func() error { return s.findTrees(ctx, g) },
		func() error { return s.findLogs(ctx, g) },
		func() error { return s.findOld(ctx, g, aPartial, partialDir, m.cutoff-int64(partialAge)) },
		func() error { return s.findOld(ctx, g, aDamagedFile, damagedDir, m.cutoff-int64(partialAge)) },
		func() error { return s.findOld(ctx, g, aLockFile, lockDir, m.cutoff) },
	} {
		if err == nil {
			err = find()
		}
	}
	return g, err
}

// derivationRoom is what a derivation and its statements take.
func (s *Store) derivationRoom(drv DrvID) int64 {
	var st unix.Stat_t
	total := int64(0)
	if unix.Lstat(s.fanout(derivationDir, drv.String()), &st) == nil {
		total += room(&st)
	}
	eachStatement(s.path(realisationDir, drv.String()), func(_ ArtifactID, path string) error {
		if unix.Lstat(path, &st) == nil {
			total += room(&st)
		}
		return nil
	})
	return total
}

func (s *Store) findTrees(ctx context.Context, g *garbage) error {
	err := eachName(ctx, s.path(treeDir), func(name string) error {
		name, isTime := strings.CutSuffix(name, usedSuffix)
		a, err := ParseArtifactID(name)
		if err != nil {
			return nil
		}
		t := unpacked{path: s.path(treeDir, name)}
		if isTime { // a crash may have left it without its tree
			if _, err := os.Lstat(t.path); !gone(err) {
				return nil
			}
		}
		if t.changed, err = changed(used(t.path)); err == nil && t.changed >= g.cutoff {
			return nil
		}
		if t.room, err = roomBelow(t.path); err != nil {
			return err
		}
		if g.artifacts.has(a.id) {
			g.unused = append(g.unused, t)
			return nil
		}
		g.trees = append(g.trees, t)
		g.found.add(aTree, 1, t.room)
		return nil
	})
	slices.SortFunc(g.unused, func(a, b unpacked) int { return cmp.Compare(a.changed, b.changed) })
	return err
}

// dropTrees lets trees go that roots reach, until so many bytes are saved.
func (g *garbage) dropTrees(bytes int64) {
	for ; bytes > 0 && len(g.unused) > 0; g.unused = g.unused[1:] {
		t := g.unused[0]
		g.trees = append(g.trees, t)
		g.found.add(aTree, 1, t.room)
		bytes -= t.room
	}
}

func (s *Store) findLogs(ctx context.Context, g *garbage) error {
	return eachName(ctx, s.path(logDir), func(name string) error {
		drv, err := ParseDrvID(name)
		if err == nil && !g.drvs.has(drv.id) {
			g.addOld(file{aLog, s.path(logDir, name), drv, g.cutoff})
		}
		return nil
	})
}

func (s *Store) findOld(ctx context.Context, g *garbage, what, dir string, before int64) error {
	return eachName(ctx, s.path(dir), func(name string) error {
		g.addOld(file{what, s.path(dir, name), DrvID{}, before})
		return nil
	})
}

func (g *garbage) addOld(f file) {
	if t, err := changed(f.path); err == nil && t < f.before {
		g.files = append(g.files, f)
		g.found.file(f.what, f.path)
	}
}

// A tally counts what goes. It is safe for concurrent use.
type tally struct {
	sync.Mutex
	amounts []Amount
}

func (t *tally) add(what string, count int, bytes int64) {
	t.Lock()
	defer t.Unlock()
	i := slices.IndexFunc(t.amounts, func(a Amount) bool { return a.What == what })
	if i < 0 {
		i = len(t.amounts)
		t.amounts = append(t.amounts, Amount{What: what})
	}
	t.amounts[i].Count += count
	t.amounts[i].Bytes += bytes
}

// file adds one file, if it is there.
func (t *tally) file(what, path string) {
	var st unix.Stat_t
	if unix.Lstat(path, &st) == nil {
		t.add(what, 1, room(&st))
	}
}

func (t *tally) bytes() int64 {
	var n int64
	for _, a := range t.list() {
		n += a.Bytes
	}
	return n
}

func (t *tally) list() []Amount {
	t.Lock()
	defer t.Unlock()
	slices.SortFunc(t.amounts, func(a, b Amount) int { return strings.Compare(a.What, b.What) })
	return slices.Clone(t.amounts)
}

// lockName returns the lock under which a partial download is written.
func (s *Store) lockName(partial string) string {
	return s.path(lockDir, "blob-"+filepath.Base(partial))
}
