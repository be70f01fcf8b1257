package git

import (
	"context"
	"errors"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rcbops/rpcbuild/recipes/spec"
)

func resolve(t *testing.T, url, version string) (Pin, error) {
	t.Helper()
	r := &Resolver{RecipesDir: t.TempDir()}
	d := &Definition{Repositories: map[string]Repository{"r": {URL: url, Version: version}}}
	l, err := r.Resolve(context.Background(), d, nil, nil)
	if err != nil {
		return Pin{}, err
	}
	return l.Repositories["r"], nil
}

func TestResolve(t *testing.T) {
	dir := upstream(t)
	bundle := filepath.Join(t.TempDir(), "r.bundle")
	git(t, dir, "bundle", "create", "--quiet", bundle, "--branches", "--tags")
	head := git(t, dir, "rev-parse", "HEAD")
	stable := git(t, dir, "rev-parse", "stable/x")
	for _, url := range []string{dir, bundle, "file://" + dir} {
		for version, want := range map[string]string{"master": head, "1.0": head, "light": head, "stable/x": stable, stable: stable} {
			pin, err := resolve(t, url, version)
			if err != nil {
				t.Errorf("%s at %s: %v", url, version, err)
				continue
			}
			if pin.Commit != want || pin.Version != version {
				t.Errorf("%s at %s: %s, want %s", url, version, pin.Commit, want)
			}
			if len(pin.Refs) != 4 || pin.Refs["refs/tags/1.0"] != git(t, dir, "rev-parse", "1.0") {
				t.Errorf("refs of %s: %v", url, pin.Refs)
			}
		}
	}
}

func TestResolveErrors(t *testing.T) {
	dir := upstream(t)
	for _, c := range []struct{ url, version, want string }{
		{dir, "nonesuch", `no branch or tag "nonesuch"`},
		{dir, git(t, dir, "rev-parse", "--short", "HEAD"), "no full commit id"},
		{filepath.Join(dir, "gone"), "master", "resolve git repository r: git ls-remote"},
		{"http://127.0.0.1:1/r.git", "master", "resolve git repository r: git ls-remote"},
	} {
		if _, err := resolve(t, c.url, c.version); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s at %s: %v, want %q", c.url, c.version, err, c.want)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	d := &Definition{Repositories: map[string]Repository{"r": {URL: dir, Version: "master"}}}
	if _, err := (&Resolver{}).Resolve(ctx, d, nil, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestResolveMovesOnlyWhatIsAsked(t *testing.T) {
	dir := upstream(t)
	d := &Definition{Repositories: map[string]Repository{"r": {URL: dir, Version: "master"}}}
	r := &Resolver{}
	ctx := context.Background()
	old, err := r.Resolve(ctx, d, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	git(t, dir, "commit", "--quiet", "--allow-empty", "-m", "later")
	later := git(t, dir, "rev-parse", "HEAD")
	for name, c := range map[string]struct {
		version string
		move    []string
		want    string
	}{
		"stays":           {"master", []string{"other"}, old.Repositories["r"].Commit},
		"moves":           {"master", []string{"r"}, later},
		"another version": {"stable/x", nil, git(t, dir, "rev-parse", "stable/x")},
	} {
		d.Repositories["r"] = Repository{URL: dir, Version: c.version}
		l, err := r.Resolve(ctx, d, old, c.move)
		if err != nil || l.Repositories["r"].Commit != c.want {
			t.Errorf("%s: %v, %v, want %s", name, l, err, c.want)
		}
	}
}

// TestHookEnvironment runs inside what git tells its hooks, which points at another repository.
func TestHookEnvironment(t *testing.T) {
	dir := upstream(t)
	bundle := filepath.Join(t.TempDir(), "r.bundle")
	git(t, dir, "bundle", "create", "--quiet", bundle, "--branches", "--tags")
	head := git(t, dir, "rev-parse", "HEAD")
	t.Setenv("GIT_DIR", filepath.Join(t.TempDir(), "another.git"))
	t.Setenv("GIT_INDEX_FILE", "index")
	if pin, err := resolve(t, bundle, "1.0"); err != nil || pin.Commit != head {
		t.Errorf("got %v, %v", pin, err)
	}
}

func TestParseRefs(t *testing.T) {
	const id = "0123456789012345678901234567890123456789"
	refs, peeled, err := parseRefs(strings.NewReader(id + "\trefs/heads/a\n" + id + "\trefs/tags/b\n" + id + "\trefs/tags/b^{}\n"))
	if err != nil || len(refs) != 2 || peeled["refs/tags/b"] != id {
		t.Errorf("got %v, %v, %v", refs, peeled, err)
	}
	for _, bad := range []string{"x", id, id + " refs/heads/a", "beef\trefs/heads/a", id + "\t../../x", strings.Repeat("a", 1<<17)} {
		if _, _, err := parseRefs(strings.NewReader(bad)); err == nil {
			t.Errorf("%.60q is accepted", bad)
		}
	}
}

func FuzzParseRefs(f *testing.F) {
	f.Add("0123456789012345678901234567890123456789\trefs/tags/b^{}\n")
	f.Fuzz(func(t *testing.T, s string) {
		refs, peeled, err := parseRefs(strings.NewReader(s))
		if err != nil {
			return
		}
		for _, m := range []map[string]string{refs, peeled} {
			for ref, id := range m {
				if !strings.HasPrefix(ref, "refs/") || !commitID.MatchString(id) {
					t.Errorf("%q gives %q %q", s, ref, id)
				}
			}
		}
	})
}

func TestURL(t *testing.T) {
	for url, want := range map[string]string{
		"./a.bundle":                 "/recipes/a.bundle",
		"../a":                       "/a",
		"bundles/a.bundle":           "/recipes/bundles/a.bundle",
		"/srv/git/a":                 "/srv/git/a",
		"https://example.org/a.git":  "https://example.org/a.git",
		"git@example.org:a.git":      "git@example.org:a.git",
		"file:///srv/git/a":          "file:///srv/git/a",
		"./with:colon/a.bundle":      "/recipes/with:colon/a.bundle",
		"ssh://git@example.org/~/a/": "ssh://git@example.org/~/a/",
	} {
		if got := URL("/recipes", url); got != want {
			t.Errorf("URL(%q) = %q, want %q", url, got, want)
		}
	}
}

func TestValidate(t *testing.T) {
	for name, c := range map[string]struct {
		repository Repository
		want       string
	}{
		"requirements": {Repository{"./x", "master"}, ""},
		"a_b-c.d":      {Repository{"./x", "1.0"}, ""},
		"a/b":          {Repository{"./x", "master"}, "repository name"},
		"-rf":          {Repository{"./x", "master"}, "repository name"},
		".git":         {Repository{"./x", "master"}, "repository name"},
		"a b":          {Repository{"./x", "master"}, "repository name"},
		"no-url":       {Repository{"", "master"}, "no url"},
		"no-version":   {Repository{"./x", ""}, "version"},
		"option":       {Repository{"./x", "--upload-pack=x"}, "version"},
	} {
		err := (&Definition{Repositories: map[string]Repository{name: c.repository}}).Validate()
		if c.want == "" {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		var field *spec.Error
		if !errors.As(err, &field) || !strings.Contains(field.Msg, c.want) || field.Path != "$.git.repositories."+name {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestBundlesThatShip holds that the bundles of the release quickstart are what their script makes.
func TestBundlesThatShip(t *testing.T) {
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("git is not installed")
	}
	made := t.TempDir()
	if out, err := exec.Command("../../testdata/git/make-bundles.sh", made).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for name, version := range map[string]string{"requirements": "stable/2026.1", "rpcbuild-playbooks": "1.0.0"} {
		shipped, err := resolve(t, filepath.Join(absolute(t, "../git-bundles"), name+".bundle"), version)
		if err != nil {
			t.Fatal(err)
		}
		anew, err := resolve(t, filepath.Join(made, name+".bundle"), version)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(anew, shipped); diff != "" {
			t.Errorf("%s: run testdata/git/make-bundles.sh\n%s", name, diff)
		}
	}
}

func absolute(t *testing.T, path string) string {
	t.Helper()
	abs, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return abs
}
