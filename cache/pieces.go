package cache

import (
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/rcbops/rpcbuild/store"
)

// pieces finds chunks in what a store has, so that of two root file systems that share a base, the base
// comes once. It is a guess: what it gives is verified like what comes over.
type pieces struct {
	dir string // where the cuts of artifacts are kept between processes; empty: nowhere

	load sync.Once
	turn sync.Mutex // of who puts a long stream together
	mu   sync.Mutex
	at   map[digest.Digest]place
}

// place is where a chunk begins: in a stream of contents.
type place struct {
	blobs  []store.Blob
	offset int64
}

// fewChunks is how many chunks are not worth being remembered.
const fewChunks = 4

// blobName begins the names of lists that are of published content, which its digest follows. Other lists
// have the names of artifacts.
const blobName = "blob-"

// learn remembers how blobs, which the store has, were cut.
func (p *pieces) learn(st *store.Store, name string, blobs []store.Blob, c content) {
	if len(c) < fewChunks {
		return
	}
	keep(p.path(name), c.encode())
	p.load.Do(func() { p.remember(st) })
	p.mu.Lock()
	defer p.mu.Unlock()
	p.add(blobs, c)
}

func (p *pieces) path(elem ...string) string {
	if p.dir == "" {
		return ""
	}
	return filepath.Join(append([]string{p.dir}, elem...)...)
}

// has reports whether the store should have a chunk.
func (p *pieces) has(st *store.Store, chunk store.Blob) bool {
	p.load.Do(func() { p.remember(st) })
	p.mu.Lock()
	defer p.mu.Unlock()
	_, ok := p.at[chunk.Digest]
	return ok
}

// read returns a chunk if the store has it in one of the artifacts that are remembered, or nil.
func (p *pieces) read(st *store.Store, chunk store.Blob) []byte {
	p.load.Do(func() { p.remember(st) })
	p.mu.Lock()
	at, ok := p.at[chunk.Digest]
	p.mu.Unlock()
	if !ok {
		return nil
	}
	raw := make([]byte, chunk.Size)
	if !at.read(st, raw) || store.HashBlob(raw) != chunk {
		return nil
	}
	return raw
}

// remember reads what earlier processes kept, and forgets what is about artifacts that are gone.
func (p *pieces) remember(st *store.Store) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.at = make(map[digest.Digest]place)
	names, _ := os.ReadDir(p.dir)
	for _, n := range names {
		text, err := os.ReadFile(p.path(n.Name()))
		if err != nil {
			continue
		}
		c, err := parseContent(text)
		blobs := cutBlobs(st, n.Name(), c.size())
		if err != nil || blobs == nil {
			os.Remove(p.path(n.Name()))
			continue
		}
		p.add(blobs, c)
	}
}

// cutBlobs returns what a list of that name is of, or nil if the store has it no more.
func cutBlobs(st *store.Store, name string, size int64) []store.Blob {
	if sha256, ok := strings.CutPrefix(name, blobName); ok {
		b, err := store.ParseBlob(sha256, size)
		if err != nil || !st.HasBlob(b) {
			return nil
		}
		return []store.Blob{b}
	}
	id, err := store.ParseArtifactID(name)
	if err != nil {
		return nil
	}
	m, err := st.Manifest(id)
	if err != nil {
		return nil
	}
	return streamed(m)
}

func (p *pieces) add(blobs []store.Blob, c content) {
	var offset int64
	for _, chunk := range c {
		p.at[chunk.Digest] = place{blobs, offset}
		offset += chunk.Size
	}
}

// read fills raw, and reports whether the store had all of it.
func (at place) read(st *store.Store, raw []byte) bool {
	offset := at.offset
	for _, b := range at.blobs {
		if len(raw) == 0 {
			return true
		}
		if offset >= b.Size {
			offset -= b.Size
			continue
		}
		n := min(int64(len(raw)), b.Size-offset)
		f, err := st.OpenBlob(b)
		if err != nil {
			return false
		}
		m, err := f.ReadAt(raw[:n], offset)
		f.Close()
		if err != nil || int64(m) < n {
			return false
		}
		raw, offset = raw[n:], 0
	}
	return len(raw) == 0
}
