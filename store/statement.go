package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/rcbops/rpcbuild/store/signature"
)

// RealisationType is the type of what a realisation's envelopes hold.
const RealisationType = "application/vnd.rpcbuild.realisation+json"

// A Statement is a realisation, in the envelopes of those who say so: the first is who said it
// first, each other one adds a signer. Its text form is an envelope a line.
type Statement struct {
	Realisation // what the first one says
	Envelopes   []*signature.Envelope
}

// NewStatement returns r as its builder states it, signed by key; nil signs nothing.
func NewStatement(r Realisation, key *signature.Key) (Statement, error) {
	payload, err := CanonicalJSON(r)
	if err != nil {
		return Statement{}, err
	}
	e, err := signature.Seal(RealisationType, payload, key)
	if err != nil {
		return Statement{}, fmt.Errorf("state realisation of %s: %w", r.Drv, err)
	}
	return Statement{r, []*signature.Envelope{e}}, nil
}

// statementLimit is how many envelopes a statement has at most.
const statementLimit = 32

// ParseStatement reads the text form. Signatures are looked at, and trusted by nobody yet: see
// [signature.Trust].
func ParseStatement(text []byte) (Statement, error) {
	var s Statement
	for line := range bytes.Lines(text) {
		if len(s.Envelopes) == statementLimit {
			return s, fmt.Errorf("parse statement: more than %d envelopes", statementLimit)
		}
		e, err := signature.Open(RealisationType, bytes.TrimSuffix(line, []byte("\n")))
		if err != nil {
			return s, fmt.Errorf("parse statement: %w", err)
		}
		r, err := parseRealisation(e.Payload)
		if err != nil {
			return s, fmt.Errorf("parse statement: %w", err)
		}
		if len(s.Envelopes) == 0 {
			s.Realisation = r
		} else if r.Drv != s.Drv || r.Artifact != s.Artifact {
			return s, errors.New("parse statement: its envelopes are of different realisations")
		}
		s.Envelopes = append(s.Envelopes, e)
	}
	if len(s.Envelopes) == 0 {
		return s, errors.New("parse statement: it is empty")
	}
	return s, nil
}

func parseRealisation(b []byte) (Realisation, error) {
	var r Realisation
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&r); err != nil {
		return r, err
	}
	if again, err := CanonicalJSON(r); err != nil || !bytes.Equal(again, b) {
		return r, errors.New("not in canonical form")
	}
	if r.Drv.IsZero() || r.Artifact.IsZero() || r.Size < 0 {
		return r, errors.New("want a derivation, an artifact and its size")
	}
	return r, nil
}

// Encode returns the text form.
func (s Statement) Encode() []byte {
	var b bytes.Buffer
	for _, e := range s.Envelopes {
		b.Write(e.Text)
		b.WriteByte('\n')
	}
	return b.Bytes()
}

// SignedBy reports whether key signed one of the envelopes.
func (s Statement) SignedBy(key signature.PublicKey) bool {
	return slices.ContainsFunc(s.Envelopes, func(e *signature.Envelope) bool { return slices.Contains(e.Signers(), key) })
}

// With returns the statement that also has those envelopes of o, of the same realisation, that are
// signed by somebody new, and whether there are any.
func (s Statement) With(o Statement) (Statement, bool) {
	var known []signature.PublicKey
	for _, e := range s.Envelopes {
		known = append(known, e.Signers()...)
	}
	all := slices.Clip(s.Envelopes)
	for _, e := range o.Envelopes {
		adds := slices.ContainsFunc(e.Signers(), func(k signature.PublicKey) bool { return !slices.Contains(known, k) })
		if adds && len(all) < statementLimit {
			all = append(all, e)
			known = append(known, e.Signers()...)
		}
	}
	return Statement{s.Realisation, all}, len(all) > len(s.Envelopes)
}
