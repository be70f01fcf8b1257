package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

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
	if err := r.validate(); err != nil {
		return Statement{}, fmt.Errorf("state realisation of %s: %w", r.Drv, err)
	}
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

// StatementLimit is the longest text form of a statement, in bytes; envelopesLimit how many envelopes
// it has at most.
const (
	StatementLimit = 64 << 10
	envelopesLimit = 32
)

// ParseStatement reads the text form. Signatures are looked at, and trusted by nobody yet: see
// [signature.Trust].
func ParseStatement(text []byte) (Statement, error) {
	var s Statement
	if len(bytes.TrimSuffix(text, []byte("\n"))) >= StatementLimit {
		return s, fmt.Errorf("parse statement: %d bytes, fewer than %d are read", len(text), StatementLimit)
	}
	for line := range bytes.Lines(text) {
		if len(s.Envelopes) == envelopesLimit {
			return s, fmt.Errorf("parse statement: more than %d envelopes", envelopesLimit)
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
		} else if r.Drv != s.Drv || r.Artifact != s.Artifact || r.Size != s.Size {
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
	return r, r.validate()
}

// wordsLimit is how long the name of a builder, or what it says of its tools, is at most, in bytes.
const wordsLimit = 1024

// validate refuses what no builder says. Its words are shown to people, on terminals that obey
// control characters.
func (r Realisation) validate() error {
	if r.Drv.IsZero() || r.Artifact.IsZero() || r.Size < 0 || r.Seconds < 0 {
		return errors.New("want a derivation, an artifact, its size and how long it took")
	}
	if _, offset := r.Time.Zone(); offset != 0 || r.Time.Nanosecond() != 0 {
		return fmt.Errorf("time %s: want UTC and whole seconds", r.Time.Format(time.RFC3339Nano))
	}
	for _, words := range []string{r.Builder, r.Tool} {
		if err := CheckWords(words); err != nil {
			return err
		}
	}
	return nil
}

// CheckWords refuses what cannot be a builder's name, or what it says of its tools.
func CheckWords(words string) error {
	if len(words) > wordsLimit || !utf8.ValidString(words) || strings.ContainsFunc(words, func(c rune) bool { return !unicode.IsPrint(c) }) {
		return fmt.Errorf("name of a builder or a tool %.100q: want a line of at most %d bytes that can be printed", words, wordsLimit)
	}
	return nil
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
	return slices.Contains(s.Signers(), key)
}

// Trusted returns what those say whom t trusts, the first of them first, or a
// [*signature.UntrustedError] if they are too few. What others say is left out: of who built it and
// with what, only their word would be there.
func (s Statement) Trusted(t *signature.Trust) (Statement, error) {
	if t == nil {
		return s, nil
	}
	if err := t.Check(s.Envelopes...); err != nil {
		return Statement{}, err
	}
	var trusted Statement
	for _, e := range s.Envelopes {
		if t.CheckOne(e) != nil {
			continue
		}
		if len(trusted.Envelopes) == 0 {
			r, err := parseRealisation(e.Payload)
			if err != nil {
				return Statement{}, fmt.Errorf("parse statement: %w", err)
			}
			trusted.Realisation = r
		}
		trusted.Envelopes = append(trusted.Envelopes, e)
	}
	return trusted, nil
}

// Signers returns whose signatures the envelopes have, each once.
func (s Statement) Signers() []signature.PublicKey {
	var all []signature.PublicKey
	for _, e := range s.Envelopes {
		for _, k := range e.Signers() {
			if !slices.Contains(all, k) {
				all = append(all, k)
			}
		}
	}
	return all
}

// With returns the statement that also has those envelopes of o, of the same realisation, that are
// signed by somebody new, as far as they fit into it, and whether there are any.
func (s Statement) With(o Statement) (Statement, bool) {
	known := s.Signers()
	all, room := slices.Clip(s.Envelopes), StatementLimit-len(s.Encode())
	for _, e := range o.Envelopes {
		adds := slices.ContainsFunc(e.Signers(), func(k signature.PublicKey) bool { return !slices.Contains(known, k) })
		if line := len(e.Text) + 1; adds && len(all) < envelopesLimit && line <= room {
			all = append(all, e)
			known = append(known, e.Signers()...)
			room -= line
		}
	}
	return Statement{s.Realisation, all}, len(all) > len(s.Envelopes)
}
