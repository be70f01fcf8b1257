package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// A DigestError says that content is not what its name promised.
type DigestError struct {
	What      string // a path, a URL
	Want, Got Blob
}

func (e *DigestError) Error() string {
	if e.Want.Size != e.Got.Size {
		return fmt.Sprintf("%s: want %d bytes with %s, got %d bytes", e.What, e.Want.Size, e.Want.Digest, e.Got.Size)
	}
	return fmt.Sprintf("%s: want %s, got %s", e.What, e.Want.Digest, e.Got.Digest)
}

// HasBlob reports whether the store holds the content, by name and size. What it holds stays at
// least until the store is closed.
func (s *Store) HasBlob(b Blob) bool { return s.findBlob(b) == nil }

// findBlob returns [ErrNotFound] if the content is not there, or why nobody can tell.
func (s *Store) findBlob(b Blob) error {
	name := s.blobPath(b)
	var st unix.Stat_t
	switch err := unix.Lstat(name, &st); {
	case errors.Is(err, fs.ErrNotExist):
		return ErrNotFound
	case err != nil:
		return fmt.Errorf("find %s: %w", name, err)
	case st.Mode&unix.S_IFMT != unix.S_IFREG || st.Size != b.Size:
		return fmt.Errorf("%w: what is there is damaged", ErrNotFound)
	case !s.relyOn(name, st.Mtim.Nano()):
		return ErrNotFound // removed at this moment
	default:
		return nil
	}
}

// OpenBlob opens content for reading. The bytes are not verified again: see [Store.ReadBlob].
func (s *Store) OpenBlob(b Blob) (*os.File, error) {
	// O_NONBLOCK means nothing for a file, and saves the four system calls in which os.Open finds that out.
	f, err := os.OpenFile(s.blobPath(b), os.O_RDONLY|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("blob %s: %w", b.Digest, ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("open blob: %w", err)
	}
	return f, nil
}

// ReadBlob returns small content, verified.
func (s *Store) ReadBlob(b Blob) ([]byte, error) {
	content, err := os.ReadFile(s.blobPath(b))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("blob %s: %w", b.Digest, ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("read blob: %w", err)
	}
	if got := HashBlob(content); got != b {
		return nil, &DigestError{What: s.blobPath(b), Want: b, Got: got}
	}
	return content, nil
}

// BlobPath returns where the content lies. The file is read-only, and shared: whoever writes to it
// damages the store.
func (s *Store) BlobPath(b Blob) string { return s.blobPath(b) }

// PutBlob stores what r gives if it is exactly want, and otherwise returns a [*DigestError] and
// stores nothing. It reads at most one byte more than want.Size.
func (s *Store) PutBlob(ctx context.Context, r io.Reader, want Blob) error {
	if s.HasBlob(want) {
		return nil
	}
	f, err := os.CreateTemp(s.session.Name(), "blob")
	if err != nil {
		return fmt.Errorf("put blob: %w", err)
	}
	defer os.Remove(f.Name())
	defer f.Close()
	h := digest.SHA256.Digester()
	n, err := io.Copy(io.MultiWriter(f, h.Hash()), io.LimitReader(contextReader{ctx, r}, want.Size+1))
	if err != nil {
		return fmt.Errorf("put blob %s: %w", want.Digest, err)
	}
	if got := (Blob{h.Digest(), n}); got != want {
		return &DigestError{What: "content", Want: want, Got: got}
	}
	return s.adoptBlob(f, want)
}

// AdoptBlob moves the file at path into the store if its content is exactly want, and otherwise
// returns a [*DigestError] and leaves the file. The file must be in the store's file system.
func (s *Store) AdoptBlob(path string, want Blob) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("adopt blob: %w", err)
	}
	defer f.Close()
	got, err := hashFile(f)
	if err != nil {
		return fmt.Errorf("adopt blob: %w", err)
	}
	if got != want {
		return &DigestError{What: path, Want: want, Got: got}
	}
	if s.HasBlob(want) {
		return os.Remove(path)
	}
	return s.adoptBlob(f, want)
}

// adoptBlob gives the verified open file its final name.
func (s *Store) adoptBlob(f *os.File, b Blob) error {
	if err := f.Chmod(0o444); err != nil {
		return fmt.Errorf("store blob: %w", err)
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("store blob: %w", err)
	}
	name := s.blobPath(b)
	if err := publish(f.Name(), name); err != nil {
		return fmt.Errorf("store blob: %w", err)
	}
	return syncDir(filepath.Dir(name))
}

// PartialPath returns where the first bytes of a download of b are kept between attempts. Whoever
// writes there holds [Store.LockBlob].
func (s *Store) PartialPath(b Blob) string { return s.path(partialDir, b.Digest.Encoded()) }

func (s *Store) blobPath(b Blob) string { return s.fanout(blobDir, b.Digest.Encoded()) }

func hashFile(f *os.File) (Blob, error) {
	h := digest.SHA256.Digester()
	n, err := io.Copy(h.Hash(), f)
	return Blob{h.Digest(), n}, err
}

// contextReader ends a copy when its context does.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (r contextReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}
