package cache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"

	"github.com/rcbops/rpcbuild/store"
)

// A Signer makes the signatures that apt verifies. An envelope has a clock in it: it lies beside an
// artifact and is no part of it.
type Signer interface {
	// Keyring returns the armored public keys of old, which may be empty, with the signer's own
	// added. If it is in old already, that is old.
	Keyring(old []byte) ([]byte, error)
	// ClearSign returns the text with a signature around it, as apt's InRelease.
	ClearSign(text []byte) ([]byte, error)
	// DetachSign returns the armored signature of the text, as apt's Release.gpg.
	DetachSign(text []byte) ([]byte, error)
	// Verify returns nil if clear is text with a valid signature by the signer's key around it, and
	// detached, if it is not nil, another such signature.
	Verify(text, clear, detached []byte) error
}

// sign puts the envelopes of apt's Release beside it. apt reads InRelease first, so that is last:
// until then, clients stay with the release that was there. Envelopes that fit already are kept.
func (p *push) sign(ctx context.Context, name string, release store.Blob) error {
	signer := p.Repo.opts.Signer
	err := p.to.Update(ctx, KeyPath, keyLimit, signer.Keyring)
	if err != nil {
		return fmt.Errorf("publish key %s: %w", KeyPath, err)
	}
	text, err := p.text(ctx, release)
	if err != nil {
		return err
	}
	inRelease := path.Join(path.Dir(name), "InRelease")
	detached := name + ".gpg"
	if p.signed(ctx, text, inRelease, detached) {
		return nil
	}
	if err := p.envelop(ctx, detached, text, signer.DetachSign); err != nil {
		return err
	}
	return p.envelop(ctx, inRelease, text, signer.ClearSign)
}

func (p *push) text(ctx context.Context, b store.Blob) ([]byte, error) {
	if b.Size > envelopeLimit {
		return nil, fmt.Errorf("sign: the text has %d bytes, at most %d are signed", b.Size, int64(envelopeLimit))
	}
	content, err := p.blob(ctx, b) // which brings it into the store
	if err != nil {
		return nil, err
	}
	if err := content.Close(); err != nil {
		return nil, err
	}
	return p.store.ReadBlob(b)
}

// signed reports whether the envelopes are there and fit. What cannot be read does not.
func (p *push) signed(ctx context.Context, text []byte, clear, detached string) bool {
	c, err := p.read(ctx, clear, 2*envelopeLimit)
	if err != nil {
		return false
	}
	d, err := p.read(ctx, detached, envelopeLimit)
	return err == nil && p.Repo.opts.Signer.Verify(text, c, d) == nil
}

func (p *push) envelop(ctx context.Context, name string, text []byte, sign func([]byte) ([]byte, error)) error {
	b, err := sign(text)
	if err != nil {
		return fmt.Errorf("sign %s: %w", name, err)
	}
	return p.to.Replace(ctx, name, bytes.NewReader(b))
}

// checkEnvelopes says what is wrong with the envelopes of a signed text, without a key: whether they
// are there, and are around the text. A Release has no line that OpenPGP would escape.
func (r *Repo) checkEnvelopes(ctx context.Context, name string, text []byte) error {
	inRelease := path.Join(path.Dir(name), "InRelease")
	b, err := r.read(ctx, inRelease, 2*envelopeLimit)
	if err != nil {
		return err
	}
	if !bytes.Contains(b, bytes.TrimSuffix(text, []byte("\n"))) {
		return r.wrong(inRelease, errors.New("it signs another text"))
	}
	if _, err := r.backend.Stat(ctx, name+".gpg"); errors.Is(err, fs.ErrNotExist) {
		return r.wrong(name+".gpg", errors.New("it is missing"))
	}
	return nil
}
