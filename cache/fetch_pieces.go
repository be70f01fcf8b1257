package cache

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/rcbops/rpcbuild/store"
)

// rangeMax is how much of a file is asked for at once.
const rangeMax = 2 << 20

// A stretch is a part of published content: a piece that the store has, or what lies between two such.
type stretch struct {
	offset, size int64
	piece        store.Blob // zero if the store has it not
}

// fetchPieces is fetchBlob of those pieces that the store lacks. It reports whether it could: somebody must
// have said what the pieces are, and the server must send parts of files.
func (r *Repo) fetchPieces(ctx context.Context, want store.Blob, id store.ArtifactID, st *store.Store, tell func(int64)) (bool, error) {
	pieces, err := r.cuts(ctx, want, id)
	if err != nil || pieces == nil {
		return false, err
	}
	err = r.assemble(ctx, st, blobName+want.Digest.Encoded(), []store.Blob{want}, pieces, func() source {
		return r.stretches(st, want, pieces, tell)
	})
	var differs *store.DigestError
	if errors.As(err, &differs) || errors.Is(err, ErrNoRanges) {
		return false, nil // what comes whole shows who is wrong
	}
	return err == nil, err
}

// stretches gives published content.
func (r *Repo) stretches(st *store.Store, b store.Blob, pieces content, tell func(int64)) source {
	var parts []stretch
	var offset int64
	for _, piece := range pieces {
		switch last := len(parts) - 1; {
		case r.pieces.has(st, piece):
			parts = append(parts, stretch{offset, piece.Size, piece})
		case last >= 0 && parts[last].piece == (store.Blob{}) && parts[last].size+piece.Size <= rangeMax:
			parts[last].size += piece.Size
		default:
			parts = append(parts, stretch{offset: offset, size: piece.Size})
		}
		offset += piece.Size
	}
	sizes := make([]int64, len(parts))
	for i, p := range parts {
		sizes[i] = p.size
	}
	return source{sizes, func(ctx context.Context, i int) ([]byte, error) {
		p := parts[i]
		if p.piece != (store.Blob{}) {
			if raw := r.pieces.read(st, p.piece); raw != nil {
				return raw, nil
			}
		}
		return r.blobRange(ctx, b, p.offset, p.size, tell)
	}}
}

// blobRange reads a range of published content, not verified yet.
func (r *Repo) blobRange(ctx context.Context, b store.Blob, offset, size int64, tell func(int64)) (raw []byte, err error) {
	err = r.transfer(ctx, func() error {
		body, err := r.backend.GetRange(ctx, blobPath(b), offset, size)
		if err == nil {
			defer body.Close()
			raw = make([]byte, size)
			_, err = io.ReadFull(&counted{body, tell}, raw)
		}
		if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, ErrShort) {
			return r.wrong(blobPath(b), fmt.Errorf("it ends before its byte %d", offset+size))
		}
		return r.missing("blob "+b.Digest.Encoded(), err)
	})
	return raw, err
}
