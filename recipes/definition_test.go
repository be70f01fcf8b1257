package recipes

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rcbops/rpcbuild/recipes/apt"
	"github.com/rcbops/rpcbuild/recipes/spec"
)

const sampleDefinition = `distribution: {id: debian, version: "13", codename: trixie, arch: amd64}
url: https://rpc-repo.example.org
apt:
  architectures: [amd64]
  mirrors:
    debian:
      archive: host
      suite: trixie
      components: [main]
      keyring: keyrings/debian-archive.asc
  integrated: [debian]
chroots:
  base: [apt]
git:
  repositories:
    requirements: {url: ./requirements.bundle, version: master}
`

// recipesWith makes a recipes folder with one release, r1.
func recipesWith(t *testing.T, definition string, lock *Lock) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, releasesDir), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, releasesDir, "r1.yaml"), []byte(definition), 0o644); err != nil {
		t.Fatal(err)
	}
	if lock != nil {
		if err := lock.write(filepath.Join(dir, releasesDir, "r1.lock")); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestLoad(t *testing.T) {
	dir := recipesWith(t, sampleDefinition, nil)
	r, err := Load(dir, "r1")
	if err != nil {
		t.Fatal(err)
	}
	if r.Lock != nil || r.Definition.Git.Repositories["requirements"].Version != "master" {
		t.Errorf("got %+v", r)
	}
	if _, err := r.Graph(Upstreams{}); err == nil || !strings.Contains(err.Error(), "rpcbuild lock r1") {
		t.Errorf("graph without a lock: %v", err)
	}
	names, err := List(dir)
	if err != nil || len(names) != 1 || names[0] != "r1" {
		t.Errorf("List = %v, %v", names, err)
	}
	if _, err := List(filepath.Join(dir, "none")); err == nil || !strings.Contains(err.Error(), "--recipes") {
		t.Errorf("got %v", err)
	}
}

func TestDefinitionErrors(t *testing.T) {
	change := func(old, new string) string {
		t.Helper()
		if !strings.Contains(sampleDefinition, old) {
			t.Fatalf("the sample has no %q", old)
		}
		return strings.Replace(sampleDefinition, old, new, 1)
	}
	for name, c := range map[string]struct{ text, want string }{
		"nothing":          {"", "distribution.id is missing"},
		"no YAML":          {"a: [", "r1.yaml:1:"},
		"unknown key":      {change("integrated:", "intergrated:"), `r1.yaml:11:3: unknown field "intergrated" (did you mean "integrated"?)`},
		"unknown at top":   {change("chroots:", "chroot:"), `r1.yaml:12:1: unknown field "chroot" (did you mean "chroots"?)`},
		"key twice":        {sampleDefinition + "url: https://other.example.org\n", "r1.yaml:17:1: "},
		"wrong type":       {change("[apt]", "{a: b}"), "r1.yaml:13:9: "},
		"no codename":      {change(", codename: trixie", ""), "r1.yaml:1:"},
		"url with a slash": {change("example.org", "example.org/"), `r1.yaml:2:6: url "https://rpc-repo.example.org/": want an http or https URL without a slash at its end`},
		"url without http": {change("https://", "ftp://"), "r1.yaml:2:6: url "},
		"no branch":        {sampleDefinition + "release_candidate: -x\n", `r1.yaml:17:20: branch "-x": want a name`},
		"unknown mirror":   {change("integrated: [debian]", "integrated: [debain]"), `r1.yaml:11:16: unknown mirror "debain" (did you mean "debian"?)`},
		"repository name":  {change("    requirements:", "    \"a b\":"), `repository name "a b"`},
		"no version":       {change(", version: master", ""), `r1.yaml:16:`},
		"unknown venv":     {sampleDefinition + "container: {default: {packages: [apt]}, variants: {x: {venvs: [keystne]}}}\n", "r1.yaml:17:"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Load(recipesWith(t, c.text, nil), "r1")
			var wrong *spec.FileError
			if !errors.As(err, &wrong) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if strings.ContainsAny(wrong.Msg, "\n") {
				t.Errorf("more than a line: %q", wrong.Msg)
			}
		})
	}
}

func TestUnknownRelease(t *testing.T) {
	_, err := Load(recipesWith(t, sampleDefinition, nil), "r2")
	var wrong *spec.FileError
	if !errors.As(err, &wrong) || !strings.Contains(err.Error(), `release "r2" is not defined (did you mean "r1"?)`) {
		t.Errorf("got %v", err)
	}
}

// archives is what tells where mirrors are; nothing asks it before something is fetched.
func archives(apt.Mirror) (string, error) { return "", errors.New("it was asked") }

func TestGraph(t *testing.T) {
	r, err := Load(recipesWith(t, sampleDefinition, sampleLock()), "r1")
	if err != nil {
		t.Fatal(err)
	}
	g, err := r.Graph(Upstreams{Archive: archives})
	if err != nil {
		t.Fatal(err)
	}
	if len(g.Goals) != 2 || g.Node("git/requirements") == nil || g.Node("chroot/git") == nil {
		t.Errorf("goals %v", g.Goals)
	}
	for _, only := range []string{"git", "git/requirements"} {
		g, err := r.Graph(Upstreams{Archive: archives}, only)
		if err != nil || len(g.Goals) != 1 {
			t.Errorf("--only %s: %v, %v", only, g, err)
		}
	}
	if _, err := r.Graph(Upstreams{Archive: archives}, "gti"); err == nil || !strings.Contains(err.Error(), `unknown stage or artifact "gti"`) {
		t.Errorf("got %v", err)
	}
}

func TestGraphWithALockThatDoesNotMatch(t *testing.T) {
	for name, c := range map[string]struct {
		change func(l *Lock)
		want   string
	}{
		"another version": {func(l *Lock) {
			p := l.Git.Repositories["requirements"]
			p.Version = "1.0"
			l.Git.Repositories["requirements"] = p
		}, "the lock is for version 1.0, the definition wants master"},
		"no repository": {func(l *Lock) { delete(l.Git.Repositories, "requirements") }, "the lock has no git repository requirements"},
		"no git":        {func(l *Lock) { l.Git = nil }, "the lock has no git section"},
		"another suite": {func(l *Lock) { l.Apt.Mirrors["debian"].Suite = "bookworm" }, "mirror debian: it was made for another suite"},
		"no mirror":     {func(l *Lock) { delete(l.Apt.Mirrors, "debian") }, "debian"},
	} {
		l := sampleLock()
		c.change(l)
		r, err := Load(recipesWith(t, sampleDefinition, l), "r1")
		if err != nil {
			t.Fatal(err)
		}
		_, err = r.Graph(Upstreams{Archive: archives})
		var wrong *spec.FileError
		if !errors.As(err, &wrong) || !strings.Contains(err.Error(), c.want) || !strings.Contains(wrong.Hint, "rpcbuild lock r1") {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	l := sampleLock()
	l.Release = "r2"
	if _, err := Load(recipesWith(t, sampleDefinition, l), "r1"); err == nil || !strings.Contains(err.Error(), `it is the lock of release "r2"`) {
		t.Errorf("got %v", err)
	}
}

// TestQuickstart reads what ships with rpcbuild.
func TestQuickstart(t *testing.T) {
	r, err := Load(".", "quickstart")
	if err != nil {
		t.Fatal(err)
	}
	for name, repository := range r.Definition.Git.Repositories {
		if _, err := os.Stat(filepath.Join(r.Dir, repository.URL)); err != nil {
			t.Errorf("repository %s: %v", name, err)
		}
	}
}
