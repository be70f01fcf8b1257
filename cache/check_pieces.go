package cache

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"io/fs"

	"github.com/opencontainers/go-digest"

	"github.com/rcbops/rpcbuild/store"
)

// listedPieces returns the pieces that a list says published content has; none if there is no list, which costs
// bytes and is not wrong.
func (c *checker) listedPieces(ctx context.Context, b store.Blob) (content, error) {
	if b.Size < largeFile {
		return nil, nil
	}
	path := cutsPath(b)
	text, err := c.read(ctx, path, contentLimit)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	pieces, err := parseContent(text)
	if err == nil && pieces.size() != b.Size {
		err = fmt.Errorf("its pieces have %d bytes, and the content %d", pieces.size(), b.Size)
	}
	if err != nil {
		return nil, c.wrong(path, err)
	}
	return pieces, nil
}

// A pieceComparer compares what is written to it with a list of pieces.
type pieceComparer struct {
	pieces  content // that are left
	hash    hash.Hash
	n       int64 // written of the first one
	differs bool
}

func (c *pieceComparer) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0 && len(c.pieces) > 0; {
		n := min(int64(len(rest)), c.pieces[0].Size-c.n)
		c.hash.Write(rest[:n])
		rest, c.n = rest[n:], c.n+n
		if c.n == c.pieces[0].Size {
			c.differs = c.differs || digest.NewDigest(digest.SHA256, c.hash) != c.pieces[0].Digest
			c.pieces, c.n = c.pieces[1:], 0
			c.hash.Reset()
		}
	}
	return len(p), nil
}
