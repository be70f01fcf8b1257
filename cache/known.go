package cache

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"
)

// What is known of a repo is kept in a folder between processes: its newest generation, with the pointer
// and the tag that it had, and the bundles that were read. Generation and bundles only save time: a torn
// file is found out by its digest, and an error costs a request next time. The pointer also says
// what is old.

// keptPointer is the file that remembers the newest pointer.
type keptPointer struct {
	Tag     string          `json:"tag"`
	Pointer json.RawMessage `json:"pointer"` // its envelope
}

// keptSnapshot returns the generation that is kept, or an empty one.
func (r *Repo) keptSnapshot() *snapshot {
	b, err := readKept(r.kept("current"))
	if err != nil {
		return emptySnapshot()
	}
	var k keptPointer
	if json.Unmarshal(b, &k) != nil {
		return emptySnapshot()
	}
	p, err := openPointer(k.Pointer, r.opts.Trust)
	if err != nil { // the trust is another one now
		return emptySnapshot()
	}
	s := &snapshot{generation: &generation{}, pointer: p}
	text, err := readKept(r.kept("generation"))
	if err != nil || digest.FromBytes(text).Encoded() != p.Generation {
		s.pointer.Generation = "" // its number still says what is old
		return s
	}
	g, err := parseGeneration(text)
	if err != nil {
		s.pointer.Generation = ""
		return s
	}
	s.generation, s.tag = g, k.Tag
	return s
}

// keepSnapshot remembers the newest generation, and forgets the bundles that it does not name.
func (r *Repo) keepSnapshot(s *snapshot, envelope []byte) {
	if r.opts.Dir == "" {
		return
	}
	b, err := json.Marshal(keptPointer{s.tag, envelope})
	if err != nil {
		return
	}
	keep(r.kept("generation"), s.encode())
	keep(r.kept("current"), b)
	named := make(map[string]bool, len(s.bundles))
	for _, ref := range s.bundles {
		named[ref.Digest.Encoded()] = true
	}
	entries, _ := os.ReadDir(r.kept("bundle"))
	for _, e := range entries {
		if !named[e.Name()] {
			os.Remove(r.kept("bundle", e.Name()))
		}
	}
}

// keep writes a copy that only saves time.
func keep(name string, b []byte) {
	if name == "" || os.MkdirAll(filepath.Dir(name), 0o755) != nil {
		return
	}
	f, err := os.CreateTemp(filepath.Dir(name), ".new")
	if err != nil {
		return
	}
	_, err = f.Write(b)
	if errors.Join(err, f.Close()) == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		os.Remove(f.Name())
	}
}
