package recipes

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"

	"github.com/rcbops/rpcbuild/recipes/git"
)

// A CandidateError says that what is published of a release must not be replaced, because a
// release-candidate branch holds the release, or because that cannot be told.
type CandidateError struct {
	Release, Branch string
	Err             error
}

func (e *CandidateError) Error() string {
	return fmt.Sprintf("replace what is published of release %s: release-candidate branch %s: %v", e.Release, e.Branch, e.Err)
}

func (e *CandidateError) Unwrap() error { return e.Err }

// errSameRelease says why a release is not replaced.
var errSameRelease = errors.New("it holds the same release, which is about to be delivered " +
	"(let this branch go on to another release; or push without --replace, and what is published stays)")

// CheckReplace refuses, with a [*CandidateError], that what is published of the release is replaced where a
// release-candidate branch holds the same release: one of that name. The branch is the one that the
// definition names, and also names, so far as they are not empty. Where there is no such branch, or it
// does not have the release, replacing is safe. Where a branch is named and that cannot be told, it is not.
func (r *Release) CheckReplace(ctx context.Context, names ...string) error {
	for _, branch := range append([]string{r.Definition.ReleaseCandidate}, names...) {
		if branch == "" {
			continue
		}
		if err := r.compareBranch(ctx, branch); err != nil {
			return &CandidateError{Release: r.Name, Branch: branch, Err: err}
		}
	}
	return nil
}

func (r *Release) compareBranch(ctx context.Context, branch string) error {
	c, err := git.OpenCheckout(ctx, r.Dir)
	if err != nil {
		return fmt.Errorf("what it holds cannot be told: %w", err)
	}
	definition := path.Join(releasesDir, r.Name+".yaml")
	switch tracked, err := c.Tracks(ctx, definition); {
	case err != nil:
		return fmt.Errorf("what it holds cannot be told: %w", err)
	case !tracked:
		return fmt.Errorf("what it holds cannot be told: git does not know %s (git add it)", definitionFile(r.Dir, r.Name))
	}
	refs, err := c.Branch(ctx, branch)
	if err != nil {
		return fmt.Errorf("what it holds cannot be told: %w", err)
	}
	for _, ref := range refs {
		same, err := r.sameAt(ctx, c, ref, definition)
		if err != nil {
			return fmt.Errorf("whether %s holds the same release cannot be told: %w", ref, err)
		}
		if same {
			return errSameRelease
		}
	}
	return nil
}

// sameAt reports whether ref defines the release. Another lock of it makes no difference: what is published
// under its name is what the branch delivers.
func (r *Release) sameAt(ctx context.Context, c *git.Checkout, ref, definition string) (bool, error) {
	_, err := c.File(ctx, ref, definition)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}
