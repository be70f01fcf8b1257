package store

import (
	"bytes"
	"errors"

	"github.com/opencontainers/go-digest"
)

// A file whose name is not the hash of its content ends with a line that is: the SHA-256 of all
// before it. So a bit that flipped is found there, too, where nobody signed.

// seal returns the text of such a file.
func seal(text []byte) []byte {
	sealed := append(bytes.Clone(text), digest.FromBytes(text).Encoded()...)
	return append(sealed, '\n')
}

// unseal returns what was sealed, or an error if the file is damaged.
func unseal(file []byte) ([]byte, error) {
	const line = 64 + 1
	if len(file) < line {
		return nil, errors.New("it is cut short; the file is damaged")
	}
	text := file[:len(file)-line]
	if !bytes.Equal(seal(text), file) {
		return nil, errors.New("its checksum is another; the file is damaged")
	}
	return text, nil
}
