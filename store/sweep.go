package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// sweepBatch is how many things go while others wait: some milliseconds' worth.
const sweepBatch = 128

// A sweeper removes garbage, each thing only after another look at its time of change, while nobody
// can touch it.
type sweeper struct {
	*Store
	*garbage
	trash   string // a folder for what takes long to remove
	moved   int
	removed tally
	spared  map[DrvID]bool
}

// sweepGarbage removes roots, then index rows, then the files that these spoke of, then content. So at
// any time what is left names nothing that is gone.
func (s *Store) sweepGarbage(ctx context.Context, g *garbage, roots []Root) (*tally, error) {
	w := &sweeper{Store: s, garbage: g, spared: make(map[DrvID]bool)}
	trash, err := s.TempDir("trash")
	if err != nil {
		return &w.removed, err
	}
	w.trash = trash
	defer os.RemoveAll(trash)
	steps := []func() error{
		func() error { return w.dropRoots(roots) },
		func() error { return inTurn(ctx, g.old.artifacts, w.dropArtifacts) },
		func() error { return inTurn(ctx, g.old.drvs, w.dropRealisations) },
		func() error { return inTurn(ctx, g.old.drvs, w.removeDerivations) },
		func() error { return inTurn(ctx, g.old.artifacts, w.removeManifests) },
		func() error { return inTurn(ctx, g.oldBlobs, w.removeBlobs) },
		func() error { return inTurn(ctx, g.trees, w.removeTrees) },
		func() error { return inTurn(ctx, g.files, w.removeFiles) },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return &w.removed, err
		}
	}
	return &w.removed, nil
}

// inTurn calls fn with a batch after the other.
func inTurn[T any](ctx context.Context, all []T, fn func([]T) error) error {
	for batch := range slices.Chunk(all, sweepBatch) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := fn(batch); err != nil {
			return err
		}
	}
	return nil
}

func (w *sweeper) dropRoots(roots []Root) error {
	for _, r := range roots {
		if err := os.Remove(r.Path); err != nil && !gone(err) {
			return fmt.Errorf("drop root: %w", err)
		}
		if err := syncDir(filepath.Dir(r.Path)); err != nil {
			return err
		}
	}
	return nil
}

// dropArtifacts drops index rows. An artifact that somebody found in the index since it was marked
// stays, with its content.
func (w *sweeper) dropArtifacts(batch []ArtifactID) error {
	var touched []ArtifactID
	err := w.update(func(ix index) error {
		for _, a := range batch {
			if w.fresh(w.manifestPath(a)) {
				touched = append(touched, a)
			} else if err := ix.dropArtifact(a); err != nil {
				return err
			}
		}
		return nil
	})
	for _, a := range touched {
		if err == nil {
			err = w.keep(a, w.manifestPath(a))
		}
	}
	return err
}

func (w *sweeper) dropRealisations(batch []DrvID) error {
	return w.update(func(ix index) error {
		for _, drv := range batch {
			if w.freshDerivation(drv) {
				w.spare(drv)
			} else if err := ix.dropRealisations(drv); err != nil {
				return err
			}
		}
		return nil
	})
}

func (w *sweeper) removeDerivations(batch []DrvID) error {
	return w.touches.exclusively(func() error {
		for _, drv := range batch {
			if w.spared[drv] {
				continue
			}
			if w.freshDerivation(drv) {
				w.spare(drv)
				continue
			}
			room := w.derivationRoom(drv)
			dir := w.path(realisationDir, drv.String())
			err := eachStatement(dir, func(_ ArtifactID, path string) error { return w.remove(path) })
			if err := errors.Join(err, w.remove(w.fanout(derivationDir, drv.String()))); err != nil {
				return err
			}
			os.Remove(dir) // unless it holds what is being written
			w.removed.add(aDerivation, 1, room)
		}
		return nil
	})
}

func (w *sweeper) spare(drv DrvID) {
	w.spared[drv] = true
	w.drvs.add(drv.id)
}

// removeManifests removes what no row names any more. One that was touched since, by somebody who
// puts the artifact again, stays.
func (w *sweeper) removeManifests(batch []ArtifactID) error {
	return w.touches.exclusively(func() error {
		for _, a := range batch {
			name := w.manifestPath(a)
			if w.artifacts.has(a.id) {
				continue
			}
			if w.fresh(name) {
				if err := w.keep(a, name); err != nil {
					return err
				}
				continue
			}
			if err := w.removeCounted(anArtifact, name); err != nil {
				return err
			}
		}
		return nil
	})
}

func (w *sweeper) removeBlobs(batch []id) error {
	err := w.touches.exclusively(func() error {
		for _, i := range batch {
			name := w.fanout(blobDir, i.String()) // it may be that of an artifact that was spared
			if w.blobs.has(i) || w.fresh(name) {
				continue
			}
			if err := w.discard(aBlob, name); err != nil {
				return err
			}
		}
		return nil
	})
	return errors.Join(err, w.emptyTrash())
}

func (w *sweeper) removeTrees(batch []unpacked) error {
	err := w.touches.exclusively(func() error {
		for _, t := range batch {
			if w.fresh(used(t.path)) {
				continue
			}
			if err := w.move(t.path); err != nil {
				return err
			}
			if err := w.remove(used(t.path)); err != nil {
				return err
			}
			w.removed.add(aTree, 1, t.room)
		}
		return nil
	})
	return errors.Join(err, w.emptyTrash())
}

func (w *sweeper) removeFiles(batch []file) error {
	for _, f := range batch {
		var err error
		switch {
		case f.what == aLog && w.drvs.has(f.drv.id):
		case f.what == aLockFile:
			err = w.removeLocked(f, f.path)
		case f.what == aPartial:
			err = w.removeLocked(f, w.lockName(f.path))
		default:
			err = w.touches.exclusively(func() error { return w.removeOld(f) })
		}
		if err != nil {
			return err
		}
	}
	return w.emptyTrash()
}

// removeLocked removes a file while it holds the lock of that name, which then goes, too, unless
// somebody else holds it.
func (w *sweeper) removeLocked(f file, lock string) error {
	if _, err := os.Stat(f.path); err != nil {
		return nil
	}
	held, err := tryLock(lock)
	if err != nil || held == nil {
		return err
	}
	defer held.Close()
	if f.path != lock {
		err = w.removeOld(f)
	} else {
		w.removed.file(f.what, f.path)
	}
	return errors.Join(err, w.remove(lock))
}

func (w *sweeper) removeOld(f file) error {
	if t, err := changed(f.path); err != nil || t >= f.before {
		return nil
	}
	return w.discard(f.what, f.path)
}

// fresh reports whether a file was touched since the cutoff. So counts what nobody can tell of.
func (w *sweeper) fresh(name string) bool {
	t, err := changed(name)
	return !gone(err) && (err != nil || t >= w.cutoff)
}

func (w *sweeper) freshDerivation(drv DrvID) bool {
	fresh := w.fresh(w.fanout(derivationDir, drv.String()))
	err := eachStatement(w.path(realisationDir, drv.String()), func(_ ArtifactID, path string) error {
		fresh = fresh || w.fresh(path)
		return nil
	})
	return fresh || err != nil
}

func (w *sweeper) manifestPath(a ArtifactID) string { return w.fanout(artifactDir, a.String()) }

// discard moves a file out of the way, which takes as long for a large one as for a small one.
func (w *sweeper) discard(what, name string) error {
	var st unix.Stat_t
	if unix.Lstat(name, &st) != nil {
		return nil
	}
	if err := w.move(name); err != nil {
		return err
	}
	w.removed.add(what, 1, room(&st))
	return nil
}

func (w *sweeper) move(name string) error {
	w.moved++
	if err := os.Rename(name, filepath.Join(w.trash, strconv.Itoa(w.moved))); err != nil && !gone(err) {
		return err
	}
	return nil
}

func (w *sweeper) emptyTrash() error {
	if err := os.RemoveAll(w.trash); err != nil {
		return err
	}
	return os.Mkdir(w.trash, 0o700)
}

func (w *sweeper) remove(name string) error {
	if err := os.Remove(name); err != nil && !gone(err) {
		return err
	}
	return nil
}

func (w *sweeper) removeCounted(what, name string) error {
	var st unix.Stat_t
	if unix.Lstat(name, &st) != nil {
		return nil
	}
	w.removed.add(what, 1, room(&st))
	return w.remove(name)
}
