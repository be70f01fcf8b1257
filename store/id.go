package store

import (
	"bytes"
	"encoding/hex"
	"fmt"

	"github.com/opencontainers/go-digest"
)

// A DrvID names a derivation: the SHA-256 of its canonical JSON.
// Its text form is 64 lower-case hexadecimal digits.
// The zero value names nothing.
type DrvID struct{ id }

// An ArtifactID names an artifact: the SHA-256 of its canonical manifest.
// Its text form is 64 lower-case hexadecimal digits.
// The zero value names nothing.
type ArtifactID struct{ id }

// A Blob is the content of one file: the digest and the length, in bytes, of its raw bytes.
type Blob struct {
	Digest digest.Digest `json:"digest"`
	Size   int64         `json:"size"`
}

// HashDrv returns the id of the derivation whose canonical encoding is b.
func HashDrv(b []byte) DrvID { return DrvID{hashID(b)} }

// HashArtifact returns the id of the artifact whose canonical manifest is b.
func HashArtifact(b []byte) ArtifactID { return ArtifactID{hashID(b)} }

// HashBlob returns the blob whose content is b.
func HashBlob(b []byte) Blob {
	return Blob{Digest: digest.FromBytes(b), Size: int64(len(b))}
}

// ParseDrvID reads the text form of a derivation's id.
func ParseDrvID(s string) (DrvID, error) {
	i, err := parseID(s)
	return DrvID{i}, err
}

// ParseArtifactID reads the text form of an artifact's id.
func ParseArtifactID(s string) (ArtifactID, error) {
	i, err := parseID(s)
	return ArtifactID{i}, err
}

// ParseBlob returns the blob with the given hexadecimal SHA-256 and size in bytes.
func ParseBlob(sha256 string, size int64) (Blob, error) {
	d := digest.NewDigestFromEncoded(digest.SHA256, sha256)
	if err := d.Validate(); err != nil {
		return Blob{}, fmt.Errorf("parse SHA-256 %q: %w", sha256, err)
	}
	if size < 0 {
		return Blob{}, fmt.Errorf("parse blob %s: negative size %d", sha256, size)
	}
	return Blob{Digest: d, Size: size}, nil
}

// id is what both kinds of ids are made of; comparable, 32 bytes, usable as a map key.
type id struct{ sum [32]byte }

func hashID(b []byte) id {
	var i id
	hex.Decode(i.sum[:], []byte(digest.FromBytes(b).Encoded()))
	return i
}

func parseID(s string) (id, error) {
	var i id
	if len(s) != hex.EncodedLen(len(i.sum)) {
		return i, fmt.Errorf("parse id %q: want 64 hexadecimal digits", s)
	}
	if _, err := hex.Decode(i.sum[:], []byte(s)); err != nil {
		return id{}, fmt.Errorf("parse id %q: %w", s, err)
	}
	if i.String() != s {
		return id{}, fmt.Errorf("parse id %q: want lower case", s)
	}
	return i, nil
}

func (i id) String() string { return hex.EncodeToString(i.sum[:]) }

// Short returns the first digits, enough for a person to tell ids apart.
func (i id) Short() string { return i.String()[:12] }

func (i id) compare(o id) int { return bytes.Compare(i.sum[:], o.sum[:]) }

// IsZero reports whether the id names nothing.
func (i id) IsZero() bool { return i == id{} }

// MarshalText writes the text form; the zero id is the empty text.
func (i id) MarshalText() ([]byte, error) {
	if i.IsZero() {
		return nil, nil
	}
	return []byte(i.String()), nil
}

// UnmarshalText reads what MarshalText wrote.
func (i *id) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		*i = id{}
		return nil
	}
	p, err := parseID(string(b))
	*i = p
	return err
}
