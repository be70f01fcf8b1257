package derive

import (
	"context"

	"github.com/rcbops/rpcbuild/store"
)

// A Substituter has artifacts that somebody else built, such as rpc-repo. Its methods are safe for
// concurrent use.
type Substituter interface {
	// Lookup returns, for each derivation, what is said there of the artifacts that it gave: only what
	// those say whom the substituter trusts.
	Lookup(ctx context.Context, drvs []store.DrvID) (map[store.DrvID][]store.Statement, error)
	// Fetch brings an artifact whole and verified into st, and returns how many bytes came over.
	// progress, if not nil, is called with their number now and then.
	Fetch(ctx context.Context, id store.ArtifactID, st *store.Store, progress func(int64)) (int64, error)
	// String names it in messages, such as its URL.
	String() string
}
