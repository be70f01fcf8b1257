package store

import (
	"encoding/binary"
	"errors"

	"go.etcd.io/bbolt"
)

// The index is one bbolt file with two buckets. It is locked for one transaction at a time, so that all
// processes come to their turn, and it names only what is durable already.
var (
	artifactBucket    = []byte("artifact")    // artifact id -> size in bytes, 8 bytes big-endian
	realisationBucket = []byte("realisation") // derivation id -> artifact ids, 32 bytes each, the first realised first
)

const indexName = "index.db"

// index is the index within one transaction.
type index struct {
	artifacts, realisations *bbolt.Bucket
}

var errNoBucket = errors.New("it lacks a bucket")

func openIndex(tx *bbolt.Tx) (index, error) {
	ix := index{tx.Bucket(artifactBucket), tx.Bucket(realisationBucket)}
	if ix.artifacts == nil || ix.realisations == nil {
		return ix, errNoBucket
	}
	return ix, nil
}

func (ix index) hasArtifact(id ArtifactID) bool { return ix.artifacts.Get(id.sum[:]) != nil }

func (ix index) putArtifact(id ArtifactID, size int64) error {
	return ix.artifacts.Put(id.sum[:], binary.BigEndian.AppendUint64(nil, uint64(size)))
}

func (ix index) dropArtifact(id ArtifactID) error { return ix.artifacts.Delete(id.sum[:]) }

func (ix index) dropRealisations(drv DrvID) error { return ix.realisations.Delete(drv.sum[:]) }

// dropRealisation drops one artifact of those that drv gave.
func (ix index) dropRealisation(drv DrvID, artifact ArtifactID) error {
	var left []byte
	have := ix.realised(drv)
	for _, a := range have {
		if a != artifact {
			left = append(left, a.sum[:]...)
		}
	}
	switch {
	case len(left) == 32*len(have):
		return nil
	case len(left) == 0:
		return ix.dropRealisations(drv)
	default:
		return ix.realisations.Put(drv.sum[:], left)
	}
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

// view reads the index.
func (s *Store) view(fn func(index) error) error {
	s.indexFile.Lock()
	defer s.indexFile.Unlock()
	h := &s.reader
	return h.use(func() error {
		if err := h.openToRead(); err != nil {
			return err
		}
		defer h.unlock()
		return h.wrap(h.db.View(func(tx *bbolt.Tx) error {
			ix, err := openIndex(tx)
			if err != nil {
				return err
			}
			return fn(ix)
		}))
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
	s.indexFile.Lock()
	defer s.indexFile.Unlock()
	h := &indexHandle{name: s.path(indexName)}
	return h.use(func() error {
		if err := h.open(&bbolt.Options{}); err != nil {
			return err
		}
		err := h.db.Update(func(tx *bbolt.Tx) error {
			ix, err := openIndex(tx)
			if err != nil {
				return err
			}
			for _, c := range batch {
				c.err = c.fn(ix)
			}
			return nil
		})
		return h.wrap(errors.Join(err, h.close()))
	})
}
