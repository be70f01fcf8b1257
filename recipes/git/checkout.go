package git

import (
	"context"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"
)

// A Checkout is a folder in the working tree of a git repository. It is only read.
type Checkout struct{ dir string }

// OpenCheckout returns the checkout that the folder dir is in.
func OpenCheckout(ctx context.Context, dir string) (*Checkout, error) {
	out, err := run(ctx, dir, nil, "rev-parse", "--is-inside-work-tree")
	if err != nil {
		return nil, fmt.Errorf("open checkout %s: %w", dir, err)
	}
	if strings.TrimSpace(string(out)) != "true" {
		return nil, fmt.Errorf("open checkout %s: it is inside of a git repository, not of its working tree", dir)
	}
	return &Checkout{dir}, nil
}

// Tracks reports whether the repository has the file at path, which is relative to the folder, in
// what is checked out or in what is about to be committed.
func (c *Checkout) Tracks(ctx context.Context, path string) (bool, error) {
	out, err := run(ctx, c.dir, nil, "ls-files", "-z", "--", ":(literal)"+path)
	return len(out) > 0, err
}

var branchName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_+./-]*$`)

// CheckBranch refuses what is not the name of a branch.
func CheckBranch(name string) error {
	if !branchName.MatchString(name) || strings.Contains(name, "..") {
		return fmt.Errorf("branch %q: want a name such as stable/r33-rc", name)
	}
	return nil
}

// Branch returns the refs that a branch's name stands for: the branch here, and that of each remote as
// it was fetched last. Where none is known here, the remotes are asked, and one that has it is an
// error: what it holds is not known. No refs mean that there is no such branch.
func (c *Checkout) Branch(ctx context.Context, name string) ([]string, error) {
	if err := CheckBranch(name); err != nil {
		return nil, err
	}
	out, err := run(ctx, c.dir, nil, "remote")
	if err != nil {
		return nil, err
	}
	remotes := strings.Fields(string(out))
	wanted := []string{"refs/heads/" + name, "refs/remotes/" + name}
	for _, r := range remotes {
		wanted = append(wanted, "refs/remotes/"+r+"/"+name)
	}
	out, err = run(ctx, c.dir, nil, append([]string{"for-each-ref", "--format=%(refname)"}, wanted...)...)
	if err != nil {
		return nil, err
	}
	refs := slices.DeleteFunc(strings.Fields(string(out)), func(ref string) bool { return !slices.Contains(wanted, ref) })
	if len(refs) > 0 {
		return refs, nil
	}
	for _, r := range remotes {
		out, err := run(ctx, c.dir, nil, "ls-remote", "--", r, "refs/heads/"+name)
		if err != nil {
			return nil, err
		}
		if len(out) > 0 {
			return nil, fmt.Errorf("branch %s of %s was not fetched (git fetch %s %s:refs/remotes/%s/%s)", name, r, r, name, r, name)
		}
	}
	return nil, nil
}

// File returns the file at path, which is relative to the folder, as ref has it. The error wraps
// fs.ErrNotExist if it has none.
func (c *Checkout) File(ctx context.Context, ref, path string) ([]byte, error) {
	out, err := run(ctx, c.dir, nil, "ls-tree", "-z", ref, "--", path)
	if err != nil {
		return nil, err
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("read %s of %s: %w", path, ref, fs.ErrNotExist)
	}
	fields := strings.Fields(string(out)) // mode, type, object id, path
	if len(fields) < 4 || fields[1] != "blob" {
		return nil, fmt.Errorf("read %s of %s: it is not a file", path, ref)
	}
	return run(ctx, c.dir, nil, "cat-file", "blob", fields[2])
}
