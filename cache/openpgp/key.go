// Package openpgp makes the OpenPGP signatures of apt repositories.
package openpgp

import (
	"bytes"
	"crypto"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/mail"
	"os"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// A Key signs. It is safe for concurrent use.
type Key struct {
	entity *openpgp.Entity
	now    func() time.Time
}

// fileLimit is the largest file of keys that is read, in bytes.
const fileLimit = 1 << 20

// rsaBits is the length of new keys: gpgv of Ubuntu 16.04 knows no elliptic curves, and sqv of
// Debian 13 takes RSA from 2048 bits on. 3072 is what GnuPG makes.
const rsaBits = 3072

// config says how keys and signatures are made: in the version 4 format, with SHA-512, which every
// apt in use accepts.
func (k *Key) config() *packet.Config {
	return &packet.Config{
		DefaultHash: crypto.SHA512, DefaultCipher: packet.CipherAES256,
		Algorithm: packet.PubKeyAlgoRSA, RSABits: rsaBits, Time: k.now,
	}
}

// LoadKey reads a private key, armored or binary, as gpg --export-secret-keys writes it. It must not
// be protected by a passphrase.
func LoadKey(file string) (*Key, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("load signing key: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, fileLimit))
	if err != nil {
		return nil, fmt.Errorf("load signing key: %w", err)
	}
	list, err := readKeyring(b)
	if err != nil {
		return nil, fmt.Errorf("load signing key %s: %w", file, err)
	}
	for _, e := range list {
		if e.PrivateKey == nil {
			continue
		}
		k := &Key{entity: e, now: time.Now}
		sk, ok := e.SigningKey(time.Now())
		switch {
		case !ok:
			return nil, fmt.Errorf("load signing key %s: key %s has expired or may not sign", file, k.Fingerprint())
		case sk.PrivateKey == nil || sk.PrivateKey.Encrypted:
			return nil, fmt.Errorf("load signing key %s: key %s is protected by a passphrase (export a copy without one)", file, k.Fingerprint())
		}
		return k, nil
	}
	return nil, fmt.Errorf("load signing key %s: it holds no private key (gpg --armor --export-secret-keys writes one)", file)
}

// GenerateKey makes a new key for identity, such as "rpc-repo <rpc@example.org>", and writes it to
// file, which must not exist and which only its owner may read.
func GenerateKey(file, identity string) (*Key, error) {
	name, email := identity, ""
	if a, err := mail.ParseAddress(identity); err == nil {
		name, email = a.Name, a.Address
	}
	k := &Key{now: time.Now}
	e, err := openpgp.NewEntity(name, "", email, k.config())
	if err != nil {
		return nil, fmt.Errorf("generate signing key for %q: %w", identity, err)
	}
	e.Subkeys = nil // it only signs
	k.entity = e
	b, err := armored(openpgp.PrivateKeyType, func(w io.Writer) error { return e.SerializePrivate(w, k.config()) })
	if err != nil {
		return nil, fmt.Errorf("generate signing key: %w", err)
	}
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("generate signing key: %w", err)
	}
	_, err = f.Write(b)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return nil, errors.Join(fmt.Errorf("generate signing key: %w", err), os.Remove(file))
	}
	return k, nil
}

// Fingerprint returns the key's fingerprint, in upper-case hexadecimal digits.
func (k *Key) Fingerprint() string {
	return strings.ToUpper(hex.EncodeToString(k.entity.PrimaryKey.Fingerprint))
}

// Public returns the armored public key.
func (k *Key) Public() ([]byte, error) { return k.Keyring(nil) }

// Keyring returns the armored public keys of old, which may be empty, with the key's own added. If it
// is in old already, that is old.
func (k *Key) Keyring(old []byte) ([]byte, error) {
	var list openpgp.EntityList
	if len(old) > 0 {
		var err error
		if list, err = readKeyring(old); err != nil {
			return nil, fmt.Errorf("read keyring: %w", err)
		}
	}
	for _, e := range list {
		if bytes.Equal(e.PrimaryKey.Fingerprint, k.entity.PrimaryKey.Fingerprint) {
			return old, nil
		}
	}
	return armored(openpgp.PublicKeyType, func(w io.Writer) error {
		for _, e := range append(list, k.entity) {
			if err := e.Serialize(w); err != nil {
				return err
			}
		}
		return nil
	})
}

// readKeyring reads keys, armored or binary.
func readKeyring(b []byte) (openpgp.EntityList, error) {
	if bytes.HasPrefix(bytes.TrimSpace(b), []byte("-----BEGIN")) {
		return openpgp.ReadArmoredKeyRing(bytes.NewReader(b))
	}
	return openpgp.ReadKeyRing(bytes.NewReader(b))
}

// armored returns what write writes, in ASCII armor that ends with the end of a line.
func armored(kind string, write func(io.Writer) error) ([]byte, error) {
	var b bytes.Buffer
	w, err := armor.Encode(&b, kind, nil)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(write(w), w.Close()); err != nil {
		return nil, err
	}
	b.WriteByte('\n')
	return b.Bytes(), nil
}
