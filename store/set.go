package store

import (
	"encoding/binary"
	"sync"
)

// An idSet is a set of digests that takes some 20 bytes each, because it keeps 72 of their 256 bits.
// Two that share them are taken for one: for gc, the second is then garbage that stays. It is safe
// for concurrent use.
type idSet [256]struct {
	sync.Mutex
	rest map[uint64]struct{}
}

func (s *idSet) add(i id) {
	part := &s[i.sum[0]]
	part.Lock()
	defer part.Unlock()
	if part.rest == nil {
		part.rest = make(map[uint64]struct{})
	}
	part.rest[binary.LittleEndian.Uint64(i.sum[1:])] = struct{}{}
}

func (s *idSet) has(i id) bool {
	part := &s[i.sum[0]]
	part.Lock()
	defer part.Unlock()
	_, ok := part.rest[binary.LittleEndian.Uint64(i.sum[1:])]
	return ok
}
