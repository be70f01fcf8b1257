package cache

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
)

// sameContent compares two files, by identity if possible: a copy of a repo may have lost its hard
// links.
func sameContent(root *os.Root, a, b string) (bool, error) {
	fa, err := root.Open(a)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil // a link to nowhere
	}
	if err != nil {
		return false, err
	}
	defer fa.Close()
	fb, err := root.Open(b)
	if err != nil {
		return false, err
	}
	defer fb.Close()
	ia, errA := fa.Stat()
	ib, errB := fb.Stat()
	if err := errors.Join(errA, errB); err != nil {
		return false, err
	}
	if os.SameFile(ia, ib) {
		return true, nil
	}
	if !ia.Mode().IsRegular() || ia.Size() != ib.Size() {
		return false, nil
	}
	return sameBytes(fa, fb)
}

func sameBytes(a, b io.Reader) (bool, error) {
	bufA, bufB := make([]byte, 128<<10), make([]byte, 128<<10)
	for {
		n, errA := io.ReadFull(a, bufA)
		m, errB := io.ReadFull(b, bufB)
		if !bytes.Equal(bufA[:n], bufB[:m]) {
			return false, nil
		}
		if errA == io.EOF || errA == io.ErrUnexpectedEOF {
			return errB == errA, nil
		}
		if err := errors.Join(errA, errB); err != nil {
			return false, err
		}
	}
}
