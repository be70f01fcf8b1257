package openpgp

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
)

// ClearSign returns text, which must end with the end of a line, with a signature around it, as
// apt's InRelease.
func (k *Key) ClearSign(text []byte) ([]byte, error) {
	if !bytes.HasSuffix(text, []byte("\n")) {
		return nil, errors.New("clear-sign: the text has no end of line at its end")
	}
	signer, ok := k.entity.SigningKey(k.now())
	if !ok {
		return nil, fmt.Errorf("clear-sign: key %s has expired", k.Fingerprint())
	}
	var b bytes.Buffer
	w, err := clearsign.Encode(&b, signer.PrivateKey, k.config())
	if err != nil {
		return nil, fmt.Errorf("clear-sign: %w", err)
	}
	_, err = w.Write(text[:len(text)-1]) // the end of the last line is part of the frame
	if err := errors.Join(err, w.Close()); err != nil {
		return nil, fmt.Errorf("clear-sign: %w", err)
	}
	b.WriteByte('\n')
	return b.Bytes(), nil
}

// DetachSign returns the armored signature of text, as apt's Release.gpg.
func (k *Key) DetachSign(text []byte) ([]byte, error) {
	var b bytes.Buffer
	if err := openpgp.ArmoredDetachSign(&b, k.entity, bytes.NewReader(text), k.config()); err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	b.WriteByte('\n')
	return b.Bytes(), nil
}

// Verify returns nil if clear is text with a valid signature by this key around it, and detached, if
// it is not nil, another valid signature of text by it.
func (k *Key) Verify(text, clear, detached []byte) error {
	ring := openpgp.EntityList{k.entity}
	block, rest := clearsign.Decode(clear)
	if block == nil {
		return errors.New("verify: no clear-signed text")
	}
	if len(bytes.TrimSpace(rest)) > 0 || !bytes.Equal(append(block.Plaintext, '\n'), text) {
		return errors.New("verify: the signature is around another text")
	}
	if _, err := block.VerifySignature(ring, k.config()); err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	if detached == nil {
		return nil
	}
	_, err := openpgp.CheckArmoredDetachedSignature(ring, bytes.NewReader(text), bytes.NewReader(detached), k.config())
	if err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	return nil
}
