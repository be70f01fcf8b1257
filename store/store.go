// Package store keeps artifacts on this machine's disk: content by its digest, manifests by
// theirs, and which derivation gave which artifact.
//
// Any number of processes may use one store at a time. Everything that a reader can name is
// complete and durable: see README.md beside this file for the order of a commit.
package store

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sync/singleflight"
)

// ErrNotFound is returned, wrapped, when the store does not hold what was asked for.
var ErrNotFound = errors.New("not in the store")

// A Store is a folder of artifacts. Its methods are safe for concurrent use, by goroutines and by
// processes.
type Store struct {
	dir     string
	session *os.File           // our folder of temporary files, locked while we live
	start   int64              // when the session began: see enter
	touches touches            // what keeps gc from what we rely on
	trees   singleflight.Group // trees that are unpacked now

	// indexFile keeps our own goroutines in line for the index, because whoever waits for a file
	// lock asks again only every 50 ms.
	indexFile sync.Mutex
	reader    indexHandle // for who only reads it
	commits   struct {    // index rows that wait for the transaction under way to end
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
	lockDir        = "lock"        // <drv>, blob-<sha256>: who builds or downloads it now
	partialDir     = "partial"     // <sha256>: the first bytes of a download that did not end
	treeDir        = "tree"        // <artifact>: unpacked copies, a cache that may be removed; <artifact>.used says when last
	tmpDir         = "tmp"         // one folder a running process
	rootDir        = "root"        // release/<name>/<number>, pin/<name>: what gc keeps
	damagedDir     = "damaged"     // what repair took out, for people to look at
)

// Open opens the store in dir, and makes it if it is not there. It removes the temporary files
// of processes that died.
func Open(dir string) (*Store, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	for _, d := range []string{blobDir, artifactDir, derivationDir, realisationDir, logDir, lockDir, partialDir, treeDir, tmpDir, rootDir} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return nil, fmt.Errorf("open store: %w", err)
		}
	}
	s := &Store{dir: dir}
	s.reader.name = s.path(indexName)
	s.sweep()
	if err := s.enter(); err != nil {
		return nil, fmt.Errorf("open store %s: %w", dir, err)
	}
	if err := errors.Join(s.touches.open(s.path(sweepLock)), s.createIndex()); err != nil {
		return nil, errors.Join(fmt.Errorf("open store %s: %w", dir, err), s.Close())
	}
	return s, nil
}

// Dir returns the store's folder.
func (s *Store) Dir() string { return s.dir }

// Close removes this process's temporary files. What was added stays.
func (s *Store) Close() error {
	return errors.Join(os.RemoveAll(s.session.Name()), s.reader.close(), s.touches.close(), s.session.Close())
}

// TempDir makes an empty folder in the store's file system, so that files can be moved from it
// into the store. It is gone when the store is closed, or opened again after a crash.
func (s *Store) TempDir(pattern string) (string, error) {
	dir, err := os.MkdirTemp(s.session.Name(), pattern)
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

func (s *Store) path(elem ...string) string {
	return filepath.Join(append([]string{s.dir}, elem...)...)
}

// fanout spreads files over 256 folders, because a folder of a million names is slow to change.
func (s *Store) fanout(dir, hex string) string { return s.path(dir, hex[:2], hex[2:]) }

// publish moves the temporary file at tmp, whose content is durable, to its final name. Its time of
// change becomes now, whatever made it: see touch.go.
func publish(tmp, name string) error {
	if err := touch(tmp); err != nil {
		return err
	}
	made, err := move(tmp, name)
	if err == nil && made {
		err = syncDir(filepath.Dir(filepath.Dir(name)))
	}
	return err
}

// move is publish for a file that this session changed. It leaves to its caller to make durable the
// folder of name, and where that was made, the folder that holds it.
func move(tmp, name string) (made bool, err error) {
	for try := 0; ; try++ {
		err := os.Rename(tmp, name)
		if !errors.Is(err, fs.ErrNotExist) || try == 10 { // gc removes folders that are empty
			return made, err
		}
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return made, err
		}
		made = true
	}
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

// ensureFile makes sure that the file at name has content. One that was damaged is mended.
func (s *Store) ensureFile(name string, content []byte) error {
	if have, err := os.ReadFile(name); err == nil && bytes.Equal(have, content) {
		if there, err := s.rely(name); there || err != nil {
			return err
		}
	}
	return s.writeFile(name, content)
}

// writeFile makes a small file durable under its final name. A file that is there is replaced.
func (s *Store) writeFile(name string, content []byte) error {
	f, err := os.CreateTemp(s.session.Name(), "w")
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
