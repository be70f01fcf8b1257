// Package derive turns a graph of derivations into artifacts: it finds what exists already, plans
// and builds the rest, each build in a process of its own. README.md beside this file describes
// the algorithm.
package derive

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/rcbops/rpcbuild/store"
)

// schema is the version of the canonical encoding of derivations. It changes only with it.
const schema = 1

// Platform is what artifacts are built for. It is part of every derivation.
const Platform = "linux/amd64"

// A Derivation is everything that decides what a build gives. Its hash is its identity.
type Derivation struct {
	Schema int `json:"schema"`
	// Kind names the builder, Builder its version: a change of a builder that changes what it
	// makes comes with a new version.
	Kind     string `json:"kind"`
	Builder  string `json:"builder"`
	Platform string `json:"platform"`
	// Params is the kind's own, in canonical JSON.
	Params json.RawMessage `json:"params"`
	// Inputs are the artifacts that the build reads, by the name that it knows them by. They are
	// contents, not derivations: an input that is rebuilt and comes out the same moves nothing.
	Inputs map[string]store.ArtifactID `json:"inputs"`
}

// Encode returns the canonical form.
func (d *Derivation) Encode() ([]byte, error) { return store.CanonicalJSON(d) }

// DecodeDerivation reads the canonical form, and refuses any other.
func DecodeDerivation(b []byte) (*Derivation, error) {
	var d Derivation
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&d); err != nil {
		return nil, fmt.Errorf("decode derivation: %w", err)
	}
	if d.Schema != schema {
		return nil, fmt.Errorf("decode derivation: schema %d, this rpcbuild knows %d", d.Schema, schema)
	}
	if d.Inputs == nil {
		return nil, errors.New("decode derivation: not in canonical form")
	}
	for name, id := range d.Inputs {
		if id.IsZero() {
			return nil, fmt.Errorf("decode derivation: input %q names no artifact", name)
		}
	}
	again, err := d.Encode()
	if err != nil {
		return nil, fmt.Errorf("decode derivation: %w", err)
	}
	if !bytes.Equal(b, again) {
		return nil, fmt.Errorf("decode derivation: not in canonical form")
	}
	return &d, nil
}
