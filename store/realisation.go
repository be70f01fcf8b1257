package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"
)

// A Realisation is the statement that a derivation gave an artifact.
type Realisation struct {
	Drv      DrvID      `json:"drv"`
	Artifact ArtifactID `json:"artifact"`
	// Builder names who built it: a host, or what the configuration says.
	Builder string `json:"builder"`
	// Tool is the version of rpcbuild that built it.
	Tool string `json:"tool"`
	// Time is when the build ended, in UTC, to the second.
	Time time.Time `json:"time"`
	// Seconds is how long the build took.
	Seconds float64 `json:"seconds"`
	// Size is the artifact's size in bytes.
	Size int64 `json:"size"`
}

// A ConflictError says that one derivation gave two different artifacts: a build that is not
// reproducible, or a builder that cannot be trusted. Both statements are kept.
type ConflictError struct {
	First, Second Realisation
}

func (e *ConflictError) Error() string {
	return fmt.Sprintf("derivation %s gave two artifacts: %s, built by %s on %s, and %s, built by %s on %s",
		e.First.Drv, e.First.Artifact, e.First.Builder, e.First.Time.Format(time.RFC3339),
		e.Second.Artifact, e.Second.Builder, e.Second.Time.Format(time.RFC3339))
}

// Lookup returns, for each derivation, the artifacts that it is known to give, the first known
// first. An artifact that is named may have been removed: ask [Store.Has]. The index is read once
// for all of them.
func (s *Store) Lookup(drvs []DrvID) (map[DrvID][]ArtifactID, error) {
	found := make(map[DrvID][]ArtifactID, len(drvs))
	err := s.view(func(ix index) error {
		for _, drv := range drvs {
			if ids := ix.realised(drv); len(ids) > 0 {
				found[drv] = ids
			}
		}
		return nil
	})
	return found, err
}

// HasAll returns which of the artifacts the store holds. The index is read once for all of them.
func (s *Store) HasAll(ids []ArtifactID) (map[ArtifactID]bool, error) {
	has := make(map[ArtifactID]bool, len(ids))
	err := s.view(func(ix index) error {
		for _, id := range ids {
			has[id] = ix.hasArtifact(id)
		}
		return nil
	})
	return has, err
}

// Realisation returns the statement that drv gave artifact, or [ErrNotFound].
func (s *Store) Realisation(drv DrvID, artifact ArtifactID) (Realisation, error) {
	var r Realisation
	name := s.path(realisationDir, drv.String(), artifact.String())
	b, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return r, fmt.Errorf("realisation of %s: %w", drv, ErrNotFound)
	}
	if err != nil {
		return r, fmt.Errorf("read realisation: %w", err)
	}
	if err := json.Unmarshal(b, &r); err != nil {
		return r, fmt.Errorf("read realisation %s: %w", name, err)
	}
	if r.Drv != drv || r.Artifact != artifact {
		return r, fmt.Errorf("read realisation %s: it is of derivation %s and artifact %s; the file is damaged", name, r.Drv, r.Artifact)
	}
	return r, nil
}

// AddRealisation records that a derivation gave an artifact. The first statement of a pair is
// kept. Where the derivation is known to give another artifact, both are kept and a
// [*ConflictError] is returned.
func (s *Store) AddRealisation(r Realisation) error {
	name := s.path(realisationDir, r.Drv.String(), r.Artifact.String())
	if _, err := os.Stat(name); err != nil {
		b, err := CanonicalJSON(r)
		if err != nil {
			return err
		}
		if err := s.writeFile(name, b); err != nil {
			return fmt.Errorf("add realisation of %s: %w", r.Drv, err)
		}
	}
	var before []ArtifactID
	err := s.update(func(ix index) error {
		before = ix.realised(r.Drv)
		return ix.putRealisation(r.Drv, r.Artifact)
	})
	if err != nil {
		return fmt.Errorf("add realisation of %s: %w", r.Drv, err)
	}
	for _, other := range before {
		if other != r.Artifact {
			first, err := s.Realisation(r.Drv, other)
			if err != nil { // a statement that cannot be read any more is still contradicted
				first = Realisation{Drv: r.Drv, Artifact: other, Builder: "nobody known any more"}
			}
			return &ConflictError{First: first, Second: r}
		}
	}
	return nil
}

// PutDerivation keeps the canonical encoding of a derivation, for people and tools that ask what
// an id stands for.
func (s *Store) PutDerivation(encoded []byte) (DrvID, error) {
	drv := HashDrv(encoded)
	if err := s.ensureFile(s.fanout(derivationDir, drv.String()), encoded); err != nil {
		return drv, fmt.Errorf("put derivation %s: %w", drv, err)
	}
	return drv, nil
}

// Derivation returns the canonical encoding of a derivation, verified, or [ErrNotFound].
func (s *Store) Derivation(drv DrvID) ([]byte, error) {
	name := s.fanout(derivationDir, drv.String())
	b, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("derivation %s: %w", drv, ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("read derivation: %w", err)
	}
	if got := HashDrv(b); got != drv {
		return nil, fmt.Errorf("derivation %s: its hash is %s; the file is damaged", name, got)
	}
	return b, nil
}
