// Package store keeps artifacts on this machine's disk: content by its digest, manifests by
// theirs, and which derivation gave which artifact.
//
// Any number of processes may use one store at a time. Everything that a reader can name is
// complete and durable: see README.md beside this file for the order of a commit.
package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
)

// ErrNotFound is returned, wrapped, when the store does not hold what was asked for.
var ErrNotFound = errors.New("not in the store")

// A Store is a folder of artifacts. Its methods are safe for concurrent use, by goroutines and by
// processes.
type Store struct {
	dir     string
	session *os.File // its lock tells other processes that our temporary files are in use

	commits struct { // index rows that wait for the transaction under way to end
		sync.Mutex
		pending []*commit
		busy    bool
	}
}

// The folders of a store.
const (
	blobDir        = "blob"        // ab/cdef…: raw bytes, by their SHA-256, read-only
	artifactDir    = "artifact"    // ab/cdef…: canonical manifests, by artifact id
	derivationDir  = "derivation"  // ab/cdef…: canonical derivations, by derivation id
	realisationDir = "realisation" // <drv>/<artifact>: statements
	logDir         = "log"         // <drv>: what the last build of a derivation printed
	lockDir        = "lock"        // <drv>: who builds it now
	partialDir     = "partial"     // <sha256>: the first bytes of a download that did not end
	treeDir        = "tree"        // <artifact>: unpacked copies, a cache that may be removed
	tmpDir         = "tmp"         // one folder a running process
)

// Open opens the store in dir, and makes it if it is not there. It removes the temporary files
// of processes that died.
func Open(dir string) (*Store, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	for _, d := range []string{blobDir, artifactDir, derivationDir, realisationDir, logDir, lockDir, partialDir, treeDir, tmpDir} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return nil, fmt.Errorf("open store: %w", err)
		}
	}
	s := &Store{dir: dir}
	s.sweep()
	if err := s.enter(); err != nil {
		return nil, fmt.Errorf("open store %s: %w", dir, err)
	}
	return s, nil
}

// Dir returns the store's folder.
func (s *Store) Dir() string { return s.dir }

// Close removes this process's temporary files. What was added stays.
func (s *Store) Close() error {
	err := os.RemoveAll(s.session.Name() + ".d")
	return errors.Join(err, os.Remove(s.session.Name()), s.session.Close())
}

// TempDir makes an empty folder in the store's file system, so that files can be moved from it
// into the store. It is gone when the store is closed, or opened again after a crash.
func (s *Store) TempDir(pattern string) (string, error) {
	dir, err := os.MkdirTemp(s.session.Name()+".d", pattern)
	if err != nil {
		return "", fmt.Errorf("make temporary folder: %w", err)
	}
	return dir, nil
}

// Keep moves a temporary folder to where it outlives the process, and returns its new path.
func (s *Store) Keep(dir string) string {
	kept := s.path("kept-" + filepath.Base(dir))
	if os.Rename(dir, kept) != nil {
		return dir
	}
	return kept
}

// enter makes this process's temporary folder, beside a file that is locked while the process
// lives.
func (s *Store) enter() error {
	f, err := os.CreateTemp(s.path(tmpDir), "p")
	if err != nil {
		return err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		f.Close()
		return fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	s.session = f
	return os.Mkdir(f.Name()+".d", 0o755)
}

// sweep removes the temporary folders of processes that no longer hold their lock.
func (s *Store) sweep() {
	entries, err := os.ReadDir(s.path(tmpDir))
	if err != nil {
		return
	}
	for _, e := range entries {
		if e.IsDir() {
			continue
		}
		name := s.path(tmpDir, e.Name())
		f, err := os.Open(name)
		if err != nil {
			continue
		}
		// A process that starts now has made its file and not locked it yet: it has no folder either.
		if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
			if _, err := os.Stat(name + ".d"); err == nil {
				os.RemoveAll(name + ".d")
				os.Remove(name)
			}
		}
		f.Close()
	}
}

func (s *Store) path(elem ...string) string {
	return filepath.Join(append([]string{s.dir}, elem...)...)
}

// fanout spreads files over 256 folders, because a folder of a million names is slow to change.
func (s *Store) fanout(dir, hex string) string { return s.path(dir, hex[:2], hex[2:]) }

// publish moves the temporary file at tmp, whose content is durable, to its final name.
func publish(tmp, name string) error {
	dir := filepath.Dir(name)
	if err := os.Rename(tmp, name); err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if err := syncDir(filepath.Dir(dir)); err != nil {
			return err
		}
		if err := os.Rename(tmp, name); err != nil {
			return err
		}
	}
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	return nil
}

// writeFile makes a small file durable under its final name. A file that is there is replaced.
func (s *Store) writeFile(name string, content []byte) error {
	f, err := os.CreateTemp(s.session.Name()+".d", "w")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(content)
	if err == nil {
		err = f.Chmod(0o444)
	}
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := publish(f.Name(), name); err != nil {
		return err
	}
	return syncDir(filepath.Dir(name))
}
