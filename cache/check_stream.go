package cache

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/rcbops/rpcbuild/store"
)

// stream checks that an artifact's chunks give its files. The files are hashed while chunks come; a
// chunk that several artifacts share is read for each.
func (c *checker) stream(ctx context.Context, id store.ArtifactID, m *store.Manifest) error {
	blobs := streamed(m)
	if len(blobs) == 0 {
		return nil
	}
	list, err := c.content(ctx, id, blobs)
	if err != nil {
		return err
	}
	chunks := &chunkStream{ctx: ctx, repo: c.Repo, chunks: list}
	for _, b := range blobs {
		if err := verify(ctx, io.LimitReader(chunks, b.Size), b, nameOf(m, b)); err != nil {
			return fmt.Errorf("%s: %w", nameOf(m, b), c.blameStream(id, err))
		}
	}
	return nil
}

// nameOf returns a file of an artifact that has the content.
func nameOf(m *store.Manifest, b store.Blob) string {
	for _, e := range m.Entries {
		if e.HasContent() && e.Blob() == b {
			return e.Path
		}
	}
	return b.Digest.String()
}

func (c *checker) blameStream(id store.ArtifactID, err error) error {
	var differs *store.DigestError
	var wrong *WrongError
	if errors.As(err, &differs) && !errors.As(err, &wrong) {
		return c.wrong(contentPath(id), err)
	}
	return err
}

// chunkStream reads the chunks of a stream one after the other.
type chunkStream struct {
	ctx    context.Context
	repo   *Repo
	chunks content
	left   []byte
}

func (s *chunkStream) Read(p []byte) (int, error) {
	if len(s.left) == 0 {
		if len(s.chunks) == 0 {
			return 0, io.EOF
		}
		raw, _, err := s.repo.chunk(s.ctx, s.chunks[0])
		if err != nil {
			return 0, err
		}
		s.chunks, s.left = s.chunks[1:], raw
	}
	n := copy(p, s.left)
	s.left = s.left[n:]
	return n, nil
}
