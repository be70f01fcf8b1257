package store

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

// An artifactRow and a realisationRow are what the index has of the objects.
type artifactRow struct {
	id   ArtifactID
	size int64
}

type realisationRow struct {
	drv      DrvID
	artifact ArtifactID
	time     int64 // of the statement, in seconds since 1970
}

// ReindexStats say what an index holds.
type ReindexStats struct {
	Artifacts, Realisations int
	// Damaged is how many manifests and statements could not be read, and have no row.
	Damaged int
}

// Reindex makes a new index from the objects: of each manifest whose content is all there, and of each
// statement, the oldest of a derivation first. Others may use the store meanwhile: no row that they
// write is lost. It waits for gc to end.
func (s *Store) Reindex(ctx context.Context) (ReindexStats, error) {
	stats, err := s.reindex(ctx)
	if err != nil {
		return stats, fmt.Errorf("reindex: %w", err)
	}
	return stats, nil
}

func (s *Store) reindex(ctx context.Context) (stats ReindexStats, err error) {
	unlock, err := s.lockUpkeep(unix.LOCK_EX)
	if err != nil {
		return stats, err
	}
	defer unlock()
	dir, err := s.TempDir("index")
	if err != nil {
		return stats, err
	}
	defer os.RemoveAll(dir)
	if err := touch(dir); err != nil {
		return stats, err
	}
	began, err := changed(dir)
	if err != nil {
		return stats, err
	}
	c := &rowCollector{Store: s}
	if err := c.collect(ctx, 0); err != nil {
		return stats, err
	}
	c.sort()
	tmp := filepath.Join(dir, indexName)
	if err := writeIndex(tmp, c.artifacts, c.realisations); err != nil {
		return stats, err
	}
	stats = ReindexStats{len(c.artifacts), len(c.realisations), c.damaged}

	// Nobody writes rows from here on. What was written since we began goes into the new index, too.
	old, err := s.lockIndex(unix.LOCK_EX)
	if err != nil {
		return stats, err
	}
	defer old.Close()
	late := &rowCollector{Store: s}
	if err := late.collect(ctx, began); err != nil {
		return stats, err
	}
	for _, a := range c.partial {
		if err := late.addManifest(a, s.fanout(artifactDir, a.String())); err != nil {
			return stats, err
		}
	}
	late.sort()
	if err := addRows(tmp, late.artifacts, late.realisations); err != nil {
		return stats, err
	}
	if err := os.Rename(tmp, s.path(indexName)); err != nil {
		return stats, err
	}
	return stats, syncDir(s.dir)
}

// A rowCollector reads objects and makes rows of them.
type rowCollector struct {
	*Store
	mu sync.Mutex
	indexRows
	partial []ArtifactID // whose content is not all there
	damaged int
}

// collect reads what lies in folders that were changed since then.
func (c *rowCollector) collect(ctx context.Context, since int64) error {
	err := c.walkFanoutSince(ctx, artifactDir, since, func(i id, path string) error { return c.addManifest(ArtifactID{i}, path) })
	if err != nil {
		return err
	}
	return c.walkDerivations(ctx, func(drv DrvID, dir string) error {
		if t, err := changed(dir); gone(err) || err == nil && t < since {
			return nil
		}
		return eachStatement(dir, func(a ArtifactID, path string) error { return c.addStatement(drv, a, path) })
	})
}

func (c *rowCollector) addManifest(a ArtifactID, path string) error {
	b, err := os.ReadFile(path)
	if gone(err) {
		return nil
	}
	var m struct{ Entries []Entry }
	if err != nil || HashArtifact(b) != a || json.Unmarshal(b, &m) != nil {
		c.mu.Lock()
		c.damaged++
		c.mu.Unlock()
		return nil
	}
	var size int64
	whole := true
	for _, e := range m.Entries {
		if e.HasContent() {
			size += e.Size
			var st unix.Stat_t
			whole = whole && unix.Lstat(c.blobPath(e.Blob()), &st) == nil && st.Size == e.Size
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if whole {
		c.artifacts = append(c.artifacts, artifactRow{a, size})
	} else {
		c.partial = append(c.partial, a)
	}
	return nil
}

func (c *rowCollector) addStatement(drv DrvID, a ArtifactID, path string) error {
	b, err := os.ReadFile(path)
	if gone(err) {
		return nil
	}
	var st Statement
	if err == nil {
		st, err = decodeStatement(b, drv, a)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.damaged++
		return nil
	}
	c.realisations = append(c.realisations, realisationRow{drv, a, st.Time.Unix()})
	return nil
}

func (c *rowCollector) sort() {
	slices.SortFunc(c.artifacts, func(a, b artifactRow) int { return a.id.compare(b.id.id) })
	slices.SortFunc(c.realisations, func(a, b realisationRow) int {
		return cmp.Or(a.drv.compare(b.drv.id), cmp.Compare(a.time, b.time), a.artifact.compare(b.artifact.id))
	})
}
