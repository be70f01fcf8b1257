package store

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync"
)

// marks is what gc leaves: what roots reach, and what was touched since the cutoff. A root reaches the
// artifacts that it names and their content, and of derivations the file, the statements and the log.
type marks struct {
	cutoff                 int64
	drvs, artifacts, blobs idSet

	// old is what no root names and nobody touched.
	old struct {
		sync.Mutex
		artifacts []ArtifactID
		drvs      []DrvID // of which there is a file, or statements
	}
}

// mark finds out what is to be left. It reads the manifests that stay, and no content.
func (s *Store) mark(ctx context.Context, roots []Root, cutoff int64) (*marks, error) {
	m := &marks{cutoff: cutoff}
	for _, r := range roots {
		for _, it := range r.Items {
			m.drvs.add(it.Drv.id)
			m.artifacts.add(it.Artifact.id)
		}
	}
	var olds [256][]DrvID // candidates, by the first byte: each is one goroutine's at a time
	err := s.walkFanout(ctx, derivationDir, func(i id, path string) error {
		switch t, err := changed(path); {
		case gone(err), err == nil && m.drvs.has(i):
		case err != nil:
			return err
		case t >= cutoff:
			m.drvs.add(i)
		default:
			olds[i.sum[0]] = append(olds[i.sum[0]], DrvID{i})
		}
		return nil
	})
	if err == nil {
		err = s.walkDerivations(ctx, func(drv DrvID, dir string) error { return s.markStatements(m, drv, dir) })
	}
	if err == nil {
		err = s.walkFanout(ctx, artifactDir, func(i id, path string) error { return s.markManifest(m, ArtifactID{i}, path) })
	}
	if err != nil {
		return nil, fmt.Errorf("mark: %w", err)
	}
	for _, some := range olds {
		for _, drv := range some {
			if !m.drvs.has(drv.id) {
				m.old.drvs = append(m.old.drvs, drv)
			}
		}
	}
	// In order, so that rows that lie together go together; a derivation may have come twice.
	slices.SortFunc(m.old.artifacts, func(a, b ArtifactID) int { return a.compare(b.id) })
	slices.SortFunc(m.old.drvs, func(a, b DrvID) int { return a.compare(b.id) })
	m.old.drvs = slices.Compact(m.old.drvs)
	return m, nil
}

// markStatements keeps a derivation of which somebody looked up what it gave.
func (s *Store) markStatements(m *marks, drv DrvID, dir string) error {
	if m.drvs.has(drv.id) {
		return nil
	}
	fresh := false
	err := eachStatement(dir, func(_ ArtifactID, path string) error {
		t, err := changed(path)
		fresh = fresh || err == nil && t >= m.cutoff
		if gone(err) {
			return nil
		}
		return err
	})
	if err != nil {
		return err
	}
	if fresh {
		m.drvs.add(drv.id)
		return nil
	}
	m.old.Lock()
	m.old.drvs = append(m.old.drvs, drv)
	m.old.Unlock()
	return nil
}

func (s *Store) markManifest(m *marks, a ArtifactID, path string) error {
	if !m.artifacts.has(a.id) {
		t, err := changed(path)
		if gone(err) {
			return nil
		}
		if err != nil {
			return err
		}
		if t < m.cutoff {
			m.old.Lock()
			m.old.artifacts = append(m.old.artifacts, a)
			m.old.Unlock()
			return nil
		}
	}
	return m.keep(a, path)
}

// keep marks an artifact's content. A manifest that is damaged does not tell what that is.
func (m *marks) keep(a ArtifactID, path string) error {
	b, err := os.ReadFile(path)
	if gone(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if HashArtifact(b) != a {
		return fmt.Errorf("manifest %s is damaged (rpcbuild store repair mends it or takes it out)", path)
	}
	m.artifacts.add(a.id)
	// In a canonical manifest, a quotation mark that belongs to a name comes after a backslash, so
	// only digests look so. Decoding it would take four times as long.
	key := []byte(`"digest":"sha256:`)
	for {
		_, rest, found := bytes.Cut(b, key)
		if !found {
			return nil
		}
		var i id
		if len(rest) < 64 {
			return nil
		}
		if _, err := hex.Decode(i.sum[:], rest[:64]); err == nil {
			m.blobs.add(i)
		}
		b = rest[64:]
	}
}

// gone reports whether something was removed by others meanwhile.
func gone(err error) bool { return errors.Is(err, fs.ErrNotExist) }
