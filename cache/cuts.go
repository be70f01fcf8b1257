package cache

import (
	"context"
	"errors"
	"io"
	"io/fs"

	"github.com/opencontainers/go-digest"

	"github.com/rcbops/rpcbuild/store"
)

// Published content lies as it is, because clients read it. Still, most bytes of a compressed root file system
// in which a package moved are those of the one before: equal chunks of it give equal xz streams. So
// large content is cut, too, and a list of its pieces lies beside it. Who pushes has the place copy
// the pieces that it has; who pulls takes them from the store.

const (
	// largeFile is the size from which a file is cut, and from which one that does not come whole is
	// carried on by the next process, and not begun again.
	largeFile = 8 << 20

	// pieceNormal is how large a piece is. A piece costs a line in a list. Of three containers' root file
	// systems, 231 MB with xz, this many MB are new where a package of one moved, and where one of
	// the base of all three did:
	//
	//	  8 KiB   5.7  26.6
	//	 16 KiB   5.7  29.2
	//	 32 KiB   6.3  33.1
	//	 64 KiB   6.5  37.5
	//	128 KiB   7.9  44.6
	pieceNormal = 16 << 10
)

// cutContent reads content to its end, verifies that it is b, and returns its pieces.
func cutContent(ctx context.Context, r io.Reader, b store.Blob, what string) (content, error) {
	h := digest.SHA256.Hash()
	var pieces content
	err := cut(io.TeeReader(io.LimitReader(r, b.Size+1), h), pieceNormal, func(piece []byte) error {
		pieces = append(pieces, store.HashBlob(piece))
		return ctx.Err()
	})
	if err != nil {
		return nil, err
	}
	if got := (store.Blob{Digest: digest.NewDigest(digest.SHA256, h), Size: pieces.size()}); got != b {
		return nil, &store.DigestError{What: what, Want: b, Got: got}
	}
	return pieces, nil
}

// cuts returns the pieces of content that an artifact publishes, or none if nobody says.
func (r *Repo) cuts(ctx context.Context, b store.Blob, id store.ArtifactID) (content, error) {
	text, err := r.small(ctx, cutsPath(b), contentLimit, id)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	pieces, err := parseContent(text)
	if err != nil || pieces.size() != b.Size {
		return nil, nil // it only saves bytes
	}
	return pieces, nil
}
