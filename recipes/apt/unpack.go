package apt

import (
	"bytes"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/ulikunitz/xz"
)

// unpack returns the content of an index. Its bytes were verified, but may still be more than
// indexLimit when they are unpacked.
func unpack(name string, packed []byte) (string, error) {
	var r io.Reader = bytes.NewReader(packed)
	var err error
	switch path.Ext(name) {
	case ".gz":
		r, err = gzip.NewReader(r)
	case ".xz":
		r, err = xz.NewReader(r)
	}
	if err != nil {
		return "", err
	}
	var b strings.Builder
	b.Grow(5 * len(packed))
	n, err := io.Copy(&b, io.LimitReader(r, indexLimit+1))
	if err != nil {
		return "", err
	}
	if n > indexLimit {
		return "", fmt.Errorf("more than %d bytes", indexLimit)
	}
	return b.String(), nil
}
