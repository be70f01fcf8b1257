package store

import (
	"encoding/binary"
	"fmt"
	"os"
	"time"

	"go.etcd.io/bbolt"
)

// The index is one bbolt file with two buckets. It is opened for one transaction at a time,
// because bbolt locks the file while it is open, and it names only what is durable already.
var (
	artifactBucket    = []byte("artifact")    // artifact id -> size in bytes, 8 bytes big-endian
	realisationBucket = []byte("realisation") // derivation id -> artifact ids, 32 bytes each, the first realised first
)

// indexWait bounds the wait for the transactions of other processes, each of which takes
// milliseconds.
const indexWait = 30 * time.Second

// index is the index within one transaction.
type index struct {
	artifacts, realisations *bbolt.Bucket
}

func (ix index) hasArtifact(id ArtifactID) bool {
	return ix.artifacts != nil && ix.artifacts.Get(id.sum[:]) != nil
}

func (ix index) putArtifact(id ArtifactID, size int64) error {
	return ix.artifacts.Put(id.sum[:], binary.BigEndian.AppendUint64(nil, uint64(size)))
}

func (ix index) realised(drv DrvID) []ArtifactID {
	if ix.realisations == nil {
		return nil
	}
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

// view reads the index. A store without one reads as empty.
func (s *Store) view(fn func(index) error) error {
	db, err := bbolt.Open(s.path("index.db"), 0o644, &bbolt.Options{ReadOnly: true, Timeout: indexWait})
	if os.IsNotExist(err) {
		return fn(index{})
	}
	if err != nil {
		return fmt.Errorf("open index %s: %w", s.path("index.db"), err)
	}
	defer db.Close()
	return db.View(func(tx *bbolt.Tx) error {
		return fn(index{tx.Bucket(artifactBucket), tx.Bucket(realisationBucket)})
	})
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
	db, err := bbolt.Open(s.path("index.db"), 0o644, &bbolt.Options{Timeout: indexWait, NoFreelistSync: true})
	if err != nil {
		return fmt.Errorf("open index %s: %w", s.path("index.db"), err)
	}
	defer db.Close()
	err = db.Update(func(tx *bbolt.Tx) error {
		var ix index
		if ix.artifacts, err = tx.CreateBucketIfNotExists(artifactBucket); err != nil {
			return err
		}
		if ix.realisations, err = tx.CreateBucketIfNotExists(realisationBucket); err != nil {
			return err
		}
		for _, c := range batch {
			c.err = c.fn(ix)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("write index %s: %w", s.path("index.db"), err)
	}
	return nil
}
