package signature

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// A Key signs. It is safe for concurrent use.
type Key struct{ private ed25519.PrivateKey }

// A PublicKey names a signer. It is comparable; the zero value names nobody.
type PublicKey struct{ raw [ed25519.PublicKeySize]byte }

// algorithm begins the text form of a public key.
const algorithm = "ed25519:"

// The types of PEM blocks: the forms that openssl reads and writes, PKCS #8 and PKIX.
const (
	privateBlock = "PRIVATE KEY"
	publicBlock  = "PUBLIC KEY"
)

// fileLimit is the largest file with a key that is read, in bytes.
const fileLimit = 64 << 10

// Generate makes a new key and writes it to file, which must not exist and which only its owner may
// read: PKCS #8 in PEM, as openssl genpkey -algorithm ed25519 writes it. A crash leaves no file, the
// whole key, or one that [Load] refuses.
func Generate(file string) (*Key, error) {
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		return nil, fmt.Errorf("generate key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, fmt.Errorf("generate key: %w", err)
	}
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("generate key: %w", err)
	}
	err = pem.Encode(f, &pem.Block{Type: privateBlock, Bytes: der})
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return nil, errors.Join(fmt.Errorf("generate key: %w", err), os.Remove(file))
	}
	return &Key{private}, nil
}

// Load reads a key that [Generate] or openssl genpkey wrote.
func Load(file string) (*Key, error) {
	der, err := readBlock(file, privateBlock)
	if err != nil {
		return nil, fmt.Errorf("load key: %w", err)
	}
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, fmt.Errorf("load key %s: %w", file, err)
	}
	private, ok := key.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("load key %s: it is not an ed25519 key (rpcbuild key generate makes one)", file)
	}
	return &Key{private}, nil
}

// LoadPublic reads a public key: PKIX in PEM, as openssl pkey -pubout writes it.
func LoadPublic(file string) (PublicKey, error) {
	der, err := readBlock(file, publicBlock)
	if err != nil {
		return PublicKey{}, fmt.Errorf("load public key: %w", err)
	}
	key, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return PublicKey{}, fmt.Errorf("load public key %s: %w", file, err)
	}
	public, ok := key.(ed25519.PublicKey)
	if !ok {
		return PublicKey{}, fmt.Errorf("load public key %s: it is not an ed25519 key", file)
	}
	return named(public)
}

// named returns the name of a key. All zero bytes are a point of the curve that any signature can be
// made to fit, and name nobody.
func named(public ed25519.PublicKey) (PublicKey, error) {
	k := PublicKey{[ed25519.PublicKeySize]byte(public)}
	if k == (PublicKey{}) {
		return k, errors.New("public key: all of it is zero, which is nobody's")
	}
	return k, nil
}

func readBlock(file, want string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, fileLimit))
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	switch {
	case block == nil:
		return nil, fmt.Errorf("%s: want a PEM block of type %s", file, want)
	case block.Type != want:
		return nil, fmt.Errorf("%s: want a PEM block of type %s, not %s", file, want, block.Type)
	}
	return block.Bytes, nil
}

// Public returns the key's public part.
func (k *Key) Public() PublicKey {
	return PublicKey{[ed25519.PublicKeySize]byte(k.private.Public().(ed25519.PublicKey))}
}

// Sign implements the library's Signer.
func (k *Key) Sign(_ context.Context, data []byte) ([]byte, error) {
	return k.private.Sign(nil, data, crypto.Hash(0))
}

// KeyID implements the library's Signer.
func (k *Key) KeyID() (string, error) { return k.Public().String(), nil }

// IsPublicKey reports whether text is meant to be a public key's text form.
func IsPublicKey(text string) bool { return strings.HasPrefix(text, algorithm) }

// ParsePublicKey reads the text form.
func ParsePublicKey(text string) (PublicKey, error) {
	digits, ok := strings.CutPrefix(text, algorithm)
	raw, err := decode(digits)
	if !ok || err != nil || len(raw) != ed25519.PublicKeySize {
		return PublicKey{}, fmt.Errorf("public key %q: want %s and the base64 of %d bytes", text, algorithm, ed25519.PublicKeySize)
	}
	return named(raw)
}

// String returns the text form.
func (k PublicKey) String() string { return algorithm + encode(k.raw[:]) }

// PEM returns the form that openssl reads: PKIX in PEM.
func (k PublicKey) PEM() ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(k.bytes())
	if err != nil {
		return nil, fmt.Errorf("encode public key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: publicBlock, Bytes: der}), nil
}

func (k PublicKey) bytes() ed25519.PublicKey { return k.raw[:] }

func encode(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

// decode reads base64 in its one form.
func decode(s string) ([]byte, error) {
	b, err := base64.StdEncoding.DecodeString(s)
	if err == nil && encode(b) != s {
		err = errors.New("base64 that is not canonical")
	}
	return b, err
}
