package archive

import (
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/klauspost/compress/gzip"
)

// WriteTgz writes a tree to the new file name.tgz, and beside it name.checksum: the bare SHA-1 of
// the first in hexadecimal, without a newline, which is what the original's consumers compare.
// gzip's header has no name and no time in it.
func WriteTgz(name, root string, o Options) error {
	f, err := os.OpenFile(name+".tgz", os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return fmt.Errorf("write archive: %w", err)
	}
	sum := sha1.New()
	z := gzip.NewWriter(io.MultiWriter(f, sum))
	err = Write(z, root, o)
	if err := errors.Join(err, z.Close(), f.Close()); err != nil {
		return fmt.Errorf("write archive %s.tgz: %w", name, err)
	}
	return os.WriteFile(name+".checksum", []byte(hex.EncodeToString(sum.Sum(nil))), 0o644)
}
