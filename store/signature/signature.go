// Package signature signs statements and says who signed them: ed25519 signatures in DSSE envelopes
// (https://github.com/secure-systems-lab/dsse), which sign the type of what they hold, too.
//
// A key's name is the key: "ed25519:" and the base64 of its 32 bytes. So whoever reads an envelope
// can name its signer without having heard of it.
package signature

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"
)

// envelopeLimit is the largest envelope that is read, in bytes; signaturesLimit how many signatures.
const (
	envelopeLimit   = 384 << 20
	signaturesLimit = 32
)

// An Envelope holds a payload and the signatures of it. Its form is one line of JSON.
type Envelope struct {
	// Type says what the payload is, as a media type.
	Type string
	// Payload is what was signed.
	Payload []byte
	// Text is the envelope's JSON, without the end of a line.
	Text []byte

	signers []PublicKey // whose signatures are valid, each once
}

// Seal returns the payload in an envelope that key signed; nil signs nothing.
func Seal(payloadType string, payload []byte, key *Key) (*Envelope, error) {
	e := &dsse.Envelope{PayloadType: payloadType, Payload: encode(payload), Signatures: []dsse.Signature{}}
	var signers []PublicKey
	if key != nil {
		s, err := dsse.NewEnvelopeSigner(key)
		if err == nil {
			e, err = s.SignPayload(context.Background(), payloadType, payload)
		}
		if err != nil {
			return nil, fmt.Errorf("sign: %w", err)
		}
		signers = []PublicKey{key.Public()}
	}
	text, err := json.Marshal(e)
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	return &Envelope{Type: payloadType, Payload: payload, Text: text, signers: signers}, nil
}

// Open reads an envelope that must hold what payloadType says, and finds out whose signatures in it
// are valid. One that is not valid, or of a key of another kind, counts for nobody: whether those
// that are valid will do is for a [Trust] to say. An envelope has one form: others are refused. The
// envelope keeps text.
func Open(payloadType string, text []byte) (*Envelope, error) {
	if len(text) > envelopeLimit {
		return nil, fmt.Errorf("open envelope: %d bytes, at most %d are read", len(text), envelopeLimit)
	}
	var e dsse.Envelope
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&e); err != nil {
		return nil, fmt.Errorf("open envelope: %w", err)
	}
	if again, err := json.Marshal(e); err != nil || !bytes.Equal(again, text) || e.Signatures == nil {
		return nil, errors.New("open envelope: not in canonical form")
	}
	if e.PayloadType != payloadType {
		return nil, fmt.Errorf("open envelope: it holds %q, want %q", e.PayloadType, payloadType)
	}
	if len(e.Signatures) > signaturesLimit {
		return nil, fmt.Errorf("open envelope: %d signatures, at most %d are read", len(e.Signatures), signaturesLimit)
	}
	payload, err := decode(e.Payload)
	if err != nil {
		return nil, fmt.Errorf("open envelope: payload: %w", err)
	}
	opened := &Envelope{Type: payloadType, Payload: payload, Text: text}
	signed := dsse.PAE(payloadType, payload)
	seen := make(map[PublicKey]bool)
	for _, s := range e.Signatures {
		key, err := ParsePublicKey(s.KeyID)
		if err != nil || seen[key] {
			continue
		}
		if sig, err := decode(s.Sig); err == nil && ed25519.Verify(key.bytes(), signed, sig) {
			seen[key] = true
			opened.signers = append(opened.signers, key)
		}
	}
	return opened, nil
}

// Signers returns whose signatures are valid, each once, in the order of the envelope.
func (e *Envelope) Signers() []PublicKey { return e.signers }
