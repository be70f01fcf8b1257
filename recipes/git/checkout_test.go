package git

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCheckout(t *testing.T) {
	dir := upstream(t)
	clone := filepath.Join(t.TempDir(), "clone")
	git(t, "", "clone", "--quiet", dir, clone)
	git(t, clone, "branch", "stable/x", "origin/stable/x")
	git(t, clone, "branch", "other/x", "HEAD~1")
	ctx := t.Context()
	for _, folder := range []string{clone, filepath.Join(clone, "sub")} {
		c, err := OpenCheckout(ctx, folder)
		if err != nil {
			t.Fatal(err)
		}
		refs, err := c.Branch(ctx, "stable/x")
		if diff := cmp.Diff([]string{"refs/heads/stable/x", "refs/remotes/origin/stable/x"}, refs); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got):\n%s", folder, err, diff)
		}
	}
	c, err := OpenCheckout(ctx, filepath.Join(clone, "sub"))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]int{"origin/stable/x": 1, "x": 0, "stable": 0, "1.0": 0} {
		if refs, err := c.Branch(ctx, name); err != nil || len(refs) != want {
			t.Errorf("branch %s: %v, %v, want %d", name, refs, err, want)
		}
	}
	want, err := os.ReadFile(filepath.Join(clone, "sub", "3"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := c.File(ctx, "refs/heads/stable/x", "3"); err != nil || string(got) != string(want) {
		t.Errorf("got %q, %v", got, err)
	}
	for _, name := range []string{"19", "20", "[3]"} { // the branch is three commits back
		if _, err := c.File(ctx, "refs/heads/stable/x", name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := os.WriteFile(filepath.Join(clone, "sub", "new"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{"3": true, "new": false, "*": false} {
		if got, err := c.Tracks(ctx, name); err != nil || got != want {
			t.Errorf("tracks %s: %v, %v", name, got, err)
		}
	}
	for _, folder := range []string{t.TempDir(), filepath.Join(clone, ".git")} {
		if _, err := OpenCheckout(ctx, folder); err == nil {
			t.Errorf("%s is taken for a checkout", folder)
		}
	}
}

func TestCheckBranch(t *testing.T) {
	for name, ok := range map[string]bool{
		"rc": true, "stable/r33-rc": true, "origin/rc": true, "": false, "-x": false, "a b": false, "a..b": false, "a:b": false, "a*": false, "@{u}": false,
	} {
		if err := CheckBranch(name); (err == nil) != ok {
			t.Errorf("%q: %v", name, err)
		}
	}
}
