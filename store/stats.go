package store

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

// Stats say what takes the room.
type Stats struct {
	Kinds []KindStats // sorted by name
	// Logical is what all artifacts would take if each had its own copy of its content; Blobs is what
	// the content takes. Bytes of both are those of the content, not of disk.
	Logical, Blobs Amount
	Places         []Amount // what else there is, and all of it: bytes of disk
	Garbage        []Amount // what gc would remove, with three roots of each release
}

// KindStats are those of the artifacts that derivations of one kind gave. What no derivation gave has
// the kind "".
type KindStats struct {
	Kind      string
	Artifacts int
	Logical   int64 // bytes, of each artifact
	Own       int64 // bytes of content that no other kind has
}

// Stats measures the store. Others may use it meanwhile.
func (s *Store) Stats(ctx context.Context) (Stats, error) {
	var st Stats
	kinds, err := s.kinds(ctx)
	if err == nil {
		err = s.measureKinds(ctx, kinds, &st)
	}
	if err == nil {
		err = s.measurePlaces(&st)
	}
	if err != nil {
		return st, fmt.Errorf("measure store: %w", err)
	}
	r, err := s.GC(ctx, GCOptions{Keep: 3, DryRun: true})
	st.Garbage = r.Removed
	return st, err
}

// kinds returns the kind of each artifact that a derivation gave.
func (s *Store) kinds(ctx context.Context) (map[ArtifactID]string, error) {
	var mu sync.Mutex
	kinds := make(map[ArtifactID]string)
	err := s.walkDerivations(ctx, func(drv DrvID, dir string) error {
		b, err := os.ReadFile(s.fanout(derivationDir, drv.String()))
		if err != nil && !gone(err) {
			return err
		}
		var d struct{ Kind string }
		json.Unmarshal(b, &d) // one that is damaged has no kind
		return eachStatement(dir, func(a ArtifactID, _ string) error {
			mu.Lock()
			defer mu.Unlock()
			kinds[a] = max(kinds[a], d.Kind)
			return nil
		})
	})
	return kinds, err
}

func (s *Store) measureKinds(ctx context.Context, kinds map[ArtifactID]string, st *Stats) error {
	type content struct {
		kind   int32
		shared bool
		size   int64
	}
	var mu sync.Mutex
	contents := make(map[id]content)
	place := make(map[string]int32)
	st.Logical.What, st.Blobs.What = "artifacts", "blobs"
	err := s.walkFanout(ctx, artifactDir, func(i id, path string) error {
		b, err := os.ReadFile(path)
		if gone(err) {
			return nil
		}
		var m struct{ Entries []Entry }
		if err != nil || json.Unmarshal(b, &m) != nil {
			return err
		}
		kind := kinds[ArtifactID{i}]
		mu.Lock()
		defer mu.Unlock()
		at, ok := place[kind]
		if !ok {
			at = int32(len(st.Kinds))
			place[kind] = at
			st.Kinds = append(st.Kinds, KindStats{Kind: kind})
		}
		k := &st.Kinds[at]
		k.Artifacts++
		st.Logical.Count++
		for _, e := range m.Entries {
			if !e.HasContent() {
				continue
			}
			k.Logical += e.Size
			st.Logical.Bytes += e.Size
			sum, _ := parseID(e.Digest.Encoded())
			c, known := contents[sum]
			contents[sum] = content{at, known && (c.shared || c.kind != at), e.Size}
		}
		return nil
	})
	for _, c := range contents {
		if !c.shared {
			st.Kinds[c.kind].Own += c.size
		}
	}
	slices.SortFunc(st.Kinds, func(a, b KindStats) int { return cmp.Compare(a.Kind, b.Kind) })
	if err != nil {
		return err
	}
	return s.walkFanout(ctx, blobDir, func(_ id, path string) error {
		var f unix.Stat_t
		if unix.Lstat(path, &f) == nil {
			mu.Lock()
			defer mu.Unlock()
			st.Blobs.Count++
			st.Blobs.Bytes += f.Size
		}
		return nil
	})
}

func (s *Store) measurePlaces(st *Stats) error {
	all, err := roomBelow(s.dir)
	if err != nil {
		return err
	}
	for _, dir := range []string{blobDir, artifactDir, derivationDir, realisationDir, treeDir, logDir, partialDir, indexName, tmpDir, damagedDir, rootDir} {
		room, err := roomBelow(s.path(dir))
		if err != nil {
			return err
		}
		st.Places = append(st.Places, Amount{What: dir, Bytes: room})
	}
	st.Places = append(st.Places, Amount{What: "all", Bytes: all})
	return nil
}
