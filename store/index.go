package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/bbolt"
)

// The index is one bbolt file with two buckets. It is opened for one transaction at a time,
// because bbolt locks the file while it is open, and it names only what is durable already.
var (
	artifactBucket    = []byte("artifact")    // artifact id -> size in bytes, 8 bytes big-endian
	realisationBucket = []byte("realisation") // derivation id -> artifact ids, 32 bytes each, the first realised first
)

const indexName = "index.db"

// indexWait bounds the wait for the transactions of other processes, each of which takes
// milliseconds.
const indexWait = 30 * time.Second

// index is the index within one transaction.
type index struct {
	artifacts, realisations *bbolt.Bucket
}

func openIndex(tx *bbolt.Tx) index {
	return index{tx.Bucket(artifactBucket), tx.Bucket(realisationBucket)}
}

func (ix index) hasArtifact(id ArtifactID) bool { return ix.artifacts.Get(id.sum[:]) != nil }

func (ix index) putArtifact(id ArtifactID, size int64) error {
	return ix.artifacts.Put(id.sum[:], binary.BigEndian.AppendUint64(nil, uint64(size)))
}

func (ix index) realised(drv DrvID) []ArtifactID {
	v := ix.realisations.Get(drv.sum[:])
	ids := make([]ArtifactID, 0, len(v)/32)
	for ; len(v) >= 32; v = v[32:] {
		ids = append(ids, ArtifactID{id{[32]byte(v[:32])}})
	}
	return ids
}

func (ix index) putRealisation(drv DrvID, artifact ArtifactID) error {
	for _, have := range ix.realised(drv) {
		if have == artifact {
			return nil
		}
	}
	v := append([]byte(nil), ix.realisations.Get(drv.sum[:])...)
	return ix.realisations.Put(drv.sum[:], append(v, artifact.sum[:]...))
}

// createIndex makes an empty index if there is none. It appears whole, because a reader cannot
// tell an index that is being made from a damaged one.
func (s *Store) createIndex() error {
	name := s.path(indexName)
	if _, err := os.Stat(name); err == nil {
		return nil
	}
	dir, err := s.TempDir("index")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	tmp := filepath.Join(dir, indexName)
	db, err := bbolt.Open(tmp, 0o644, nil)
	if err != nil {
		return fmt.Errorf("make index: %w", err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucket(artifactBucket)
		if err == nil {
			_, err = tx.CreateBucket(realisationBucket)
		}
		return err
	})
	if err := errors.Join(err, db.Close()); err != nil {
		return fmt.Errorf("make index: %w", err)
	}
	// A link, and not a rename, so that the index of a process that was faster stays.
	if err := os.Link(tmp, name); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make index: %w", err)
	}
	return syncDir(s.dir)
}

// view reads the index.
func (s *Store) view(fn func(index) error) error {
	s.indexFile.RLock()
	defer s.indexFile.RUnlock()
	db, err := bbolt.Open(s.path(indexName), 0o644, &bbolt.Options{ReadOnly: true, Timeout: indexWait})
	if err != nil {
		return fmt.Errorf("open index %s: %w", s.path(indexName), err)
	}
	defer db.Close()
	return db.View(func(tx *bbolt.Tx) error { return fn(openIndex(tx)) })
}

// A commit is a change of the index that waits for its transaction.
type commit struct {
	fn   func(index) error
	err  error
	done chan struct{}
}

// update changes the index, durably. Changes that arrive while a transaction is under way share
// the next one, so that a hundred downloads cost a few syncs and not a hundred.
func (s *Store) update(fn func(index) error) error {
	c := &commit{fn: fn, done: make(chan struct{})}
	s.commits.Lock()
	s.commits.pending = append(s.commits.pending, c)
	lead := !s.commits.busy
	s.commits.busy = true
	s.commits.Unlock()
	if lead {
		s.commitAll()
	}
	<-c.done
	return c.err
}

// commitAll runs transactions until no change waits.
func (s *Store) commitAll() {
	for {
		s.commits.Lock()
		batch := s.commits.pending
		s.commits.pending = nil
		if len(batch) == 0 {
			s.commits.busy = false
			s.commits.Unlock()
			return
		}
		s.commits.Unlock()
		err := s.transact(batch)
		for _, c := range batch {
			if c.err == nil {
				c.err = err
			}
			close(c.done)
		}
	}
}

func (s *Store) transact(batch []*commit) error {
	s.indexFile.Lock()
	defer s.indexFile.Unlock()
	db, err := bbolt.Open(s.path(indexName), 0o644, &bbolt.Options{Timeout: indexWait, OpenFile: openExisting})
	if err != nil {
		return fmt.Errorf("open index %s: %w", s.path(indexName), err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		ix := openIndex(tx)
		for _, c := range batch {
			c.err = c.fn(ix)
		}
		return nil
	})
	if err := errors.Join(err, db.Close()); err != nil {
		return fmt.Errorf("write index %s: %w", s.path(indexName), err)
	}
	return nil
}

// openExisting keeps bbolt from making an index: see [Store.createIndex].
func openExisting(name string, flag int, mode os.FileMode) (*os.File, error) {
	return os.OpenFile(name, flag&^os.O_CREATE, mode)
}
