package store

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// Lost is what the store lacks after what is damaged was taken out of it.
type Lost struct {
	Artifacts []ArtifactID // that a root or a statement names
	// Derivations are those whose file, or statement, is gone; in the latter case Artifact is what it
	// was of.
	Derivations []RootItem
}

// TakeOut takes what is damaged out of the store: first the index's rows, then the files, which go to
// the folder damaged. So the store is whole without it, and everything of it can be brought back: by
// fetching it, or by building it again.
func (s *Store) TakeOut(ctx context.Context, damages []Damage) (Lost, error) {
	lost, err := s.takeOut(ctx, damages)
	if err != nil {
		return lost, fmt.Errorf("take out what is damaged: %w", err)
	}
	return lost, nil
}

func (s *Store) takeOut(ctx context.Context, damages []Damage) (lost Lost, err error) {
	if slices.ContainsFunc(damages, Damage.ofIndex) {
		if _, err := s.reindex(ctx); err != nil {
			return lost, err
		}
	}
	known, err := s.known()
	if err != nil {
		return lost, err
	}
	for _, d := range damages {
		if d.ofIndex() && !known.artifacts.has(d.id) && !known.drvs.has(d.drv.id) {
			continue // a row that never was anything else than damage
		}
		lost.add(d)
	}
	err = s.update(func(ix index) error {
		for _, a := range lost.Artifacts {
			if err := ix.dropArtifact(a); err != nil {
				return err
			}
		}
		for _, it := range lost.Derivations {
			if err := ix.dropRealisation(it.Drv, it.Artifact); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return lost, err
	}
	if err := os.MkdirAll(s.path(damagedDir), 0o755); err != nil {
		return lost, err
	}
	for _, d := range damages {
		if d.What == damagedIndex {
			continue
		}
		name := s.path(damagedDir, d.What+"-"+filepath.Base(filepath.Dir(d.Path))+filepath.Base(d.Path))
		touch(d.Path) // gc leaves it for a week
		if err := os.Rename(d.Path, name); err != nil && !gone(err) {
			return lost, err
		}
		if err := syncDir(filepath.Dir(d.Path)); err != nil && !gone(err) {
			return lost, err
		}
	}
	// What nobody names is garbage: nobody misses it.
	lost.Artifacts = slices.DeleteFunc(lost.Artifacts, func(a ArtifactID) bool { return !known.artifacts.has(a.id) })
	return lost, nil
}

// ofIndex reports whether the index may be what is damaged.
func (d Damage) ofIndex() bool {
	return d.What == damagedIndex || d.Reason == isMissing && d.What != damagedBlob
}

// known returns what roots, and derivations that are there, name.
func (s *Store) known() (*marks, error) {
	k := &marks{}
	paths, err := s.rootPaths()
	if err != nil {
		return nil, err
	}
	for _, path := range paths {
		r, err := readRoot(path)
		if err != nil {
			continue
		}
		for _, it := range r.Items {
			k.drvs.add(it.Drv.id)
			k.artifacts.add(it.Artifact.id)
		}
	}
	ctx := context.Background()
	err = s.walkFanout(ctx, derivationDir, func(i id, _ string) error { k.drvs.add(i); return nil })
	if err != nil {
		return nil, err
	}
	return k, s.walkDerivations(ctx, func(drv DrvID, dir string) error {
		return eachStatement(dir, func(a ArtifactID, _ string) error { k.artifacts.add(a.id); return nil })
	})
}

func (l *Lost) add(d Damage) {
	for _, a := range d.Artifacts {
		if !slices.Contains(l.Artifacts, a) {
			l.Artifacts = append(l.Artifacts, a)
		}
	}
	switch d.What {
	case damagedDerivation:
		l.Derivations = append(l.Derivations, RootItem{Drv: d.drv})
	case damagedStatement:
		l.Derivations = append(l.Derivations, RootItem{Drv: d.drv, Artifact: ArtifactID{d.id}})
	}
}

// Lacks returns what of a loss is still so.
func (s *Store) Lacks(l Lost) (Lost, error) {
	var still Lost
	has, err := s.HasAll(l.Artifacts)
	if err != nil {
		return still, err
	}
	for _, a := range l.Artifacts {
		if !has[a] {
			still.Artifacts = append(still.Artifacts, a)
		}
	}
	for _, it := range l.Derivations {
		var err error
		if it.Artifact.IsZero() {
			_, err = s.Derivation(it.Drv)
		} else {
			_, err = s.Statement(it.Drv, it.Artifact)
		}
		if err != nil {
			still.Derivations = append(still.Derivations, it)
		}
	}
	return still, nil
}
