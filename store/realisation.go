package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/rcbops/rpcbuild/store/signature"
)

// A Realisation is the statement that a derivation gave an artifact.
type Realisation struct {
	Drv      DrvID      `json:"drv"`
	Artifact ArtifactID `json:"artifact"`
	// Builder names who built it: a host, or what the configuration says.
	Builder string `json:"builder"`
	// Tool is what built it: rpcbuild and its version, and what of the machine it relied on.
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
		return s.relyOnMany(func(rely func(string) (bool, error)) error {
			for _, drv := range drvs {
				for _, id := range ix.realised(drv) {
					there, err := rely(s.statementPath(drv, id))
					if err != nil {
						return fmt.Errorf("look up derivation %s: %w", drv, err)
					}
					if there {
						found[drv] = append(found[drv], id)
					}
				}
			}
			return nil
		})
	})
	return found, err
}

// HasAll is [Store.Has] for many. The index is read once for all of them.
func (s *Store) HasAll(ids []ArtifactID) (map[ArtifactID]bool, error) {
	has := make(map[ArtifactID]bool, len(ids))
	err := s.view(func(ix index) error {
		return s.relyOnMany(func(rely func(string) (bool, error)) (err error) {
			for _, id := range ids {
				if !ix.hasArtifact(id) {
					continue
				}
				if has[id], err = rely(s.fanout(artifactDir, id.String())); err != nil {
					return fmt.Errorf("look for artifact %s: %w", id, err)
				}
			}
			return nil
		})
	})
	return has, err
}

// Statement returns what is said of drv having given artifact, or [ErrNotFound].
func (s *Store) Statement(drv DrvID, artifact ArtifactID) (Statement, error) {
	name := s.statementPath(drv, artifact)
	b, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return Statement{}, fmt.Errorf("realisation of %s: %w", drv, ErrNotFound)
	}
	if err != nil {
		return Statement{}, fmt.Errorf("read realisation: %w", err)
	}
	st, err := decodeStatement(b, drv, artifact)
	if err != nil {
		return Statement{}, fmt.Errorf("read realisation %s: %w", name, err)
	}
	if _, err := s.rely(name); err != nil {
		return Statement{}, fmt.Errorf("read realisation: %w", err)
	}
	return st, nil
}

// decodeStatement reads the file of a statement.
func decodeStatement(b []byte, drv DrvID, artifact ArtifactID) (Statement, error) {
	text, err := unseal(b)
	if err != nil {
		return Statement{}, err
	}
	st, err := ParseStatement(text)
	if err != nil {
		return Statement{}, err
	}
	if st.Drv != drv || st.Artifact != artifact {
		return Statement{}, fmt.Errorf("it is of derivation %s and artifact %s; the file is damaged", st.Drv, st.Artifact)
	}
	return st, nil
}

// Realisation returns what was said first of drv having given artifact, or [ErrNotFound].
func (s *Store) Realisation(drv DrvID, artifact ArtifactID) (Realisation, error) {
	st, err := s.Statement(drv, artifact)
	return st.Realisation, err
}

func (s *Store) statementPath(drv DrvID, artifact ArtifactID) string {
	return s.path(realisationDir, drv.String(), artifact.String())
}

// AddRealisation is [Store.AddStatement] for what key's owner, or nobody, signs.
func (s *Store) AddRealisation(r Realisation, key *signature.Key) error {
	st, err := NewStatement(r, key)
	if err != nil {
		return err
	}
	return s.AddStatement(st)
}

// AddStatement records that a derivation gave an artifact. The first statement of a pair stays the
// first; what others sign is added to it. Where the derivation is known to give another artifact,
// both are kept and a [*ConflictError] is returned.
func (s *Store) AddStatement(st Statement) error {
	more := true
	have, err := s.Statement(st.Drv, st.Artifact)
	if err == nil { // one that is damaged is replaced
		st, more = have.With(st)
	}
	there := false
	if !more {
		if there, err = s.rely(s.statementPath(st.Drv, st.Artifact)); err != nil {
			return fmt.Errorf("add realisation of %s: %w", st.Drv, err)
		}
	}
	if !there {
		if err := s.writeFile(s.statementPath(st.Drv, st.Artifact), seal(st.Encode())); err != nil {
			return fmt.Errorf("add realisation of %s: %w", st.Drv, err)
		}
	}
	var before []ArtifactID
	err = s.update(func(ix index) error {
		before = ix.realised(st.Drv)
		return ix.putRealisation(st.Drv, st.Artifact)
	})
	if err != nil {
		return fmt.Errorf("add realisation of %s: %w", st.Drv, err)
	}
	for _, other := range before {
		if other != st.Artifact {
			first, err := s.Realisation(st.Drv, other)
			if err != nil { // a statement that cannot be read any more is still contradicted
				first = Realisation{Drv: st.Drv, Artifact: other, Builder: "nobody known any more"}
			}
			return &ConflictError{First: first, Second: st.Realisation}
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
	if _, err := s.rely(name); err != nil {
		return nil, fmt.Errorf("read derivation: %w", err)
	}
	return b, nil
}
