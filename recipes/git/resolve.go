package git

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// A Resolver asks upstreams with the machine's git, which honours the user's configuration:
// url.<base>.insteadOf, credentials, proxies.
type Resolver struct {
	// RecipesDir is what relative URLs are relative to.
	RecipesDir string
}

// Resolve returns the lock of d. What old, which may be nil, has stays as it is, unless the
// definition asks for another version or move lists the repository.
func (r *Resolver) Resolve(ctx context.Context, d *Definition, old *Lock, move []string) (*Lock, error) {
	l := &Lock{Repositories: make(map[string]Pin)}
	for _, name := range slices.Sorted(maps.Keys(d.Repositories)) {
		repo := d.Repositories[name]
		if old != nil && !slices.Contains(move, name) {
			if pin, ok := old.Repositories[name]; ok && pin.Version == repo.Version {
				l.Repositories[name] = pin
				continue
			}
		}
		pin, err := r.pin(ctx, repo)
		if err != nil {
			return nil, fmt.Errorf("resolve git repository %s: %w", name, err)
		}
		l.Repositories[name] = pin
	}
	return l, nil
}

func (r *Resolver) pin(ctx context.Context, repo Repository) (Pin, error) {
	out, err := run(ctx, "", nil, "ls-remote", "--heads", "--tags", "--", URL(r.RecipesDir, repo.URL))
	if err != nil {
		return Pin{}, err
	}
	refs, peeled, err := parseRefs(bytes.NewReader(out))
	if err != nil {
		return Pin{}, err
	}
	pin := Pin{Version: repo.Version, Refs: refs}
	tag, branch := "refs/tags/"+repo.Version, "refs/heads/"+repo.Version
	switch {
	case peeled[tag] != "":
		pin.Commit = peeled[tag]
	case refs[tag] != "" && len(peeled) == 0:
		pin.Commit, err = peel(ctx, URL(r.RecipesDir, repo.URL), tag)
	case refs[tag] != "":
		pin.Commit = refs[tag]
	case refs[branch] != "":
		pin.Commit = refs[branch]
	case commitID.MatchString(repo.Version):
		pin.Commit = repo.Version
	default:
		err = fmt.Errorf("%s has no branch or tag %q, and it is no full commit id", repo.URL, repo.Version)
	}
	return pin, err
}

// peel returns the commit of a tag by fetching it. Servers say it with the refs if the tag is an
// annotated one; bundles and servers of plain files do not.
func peel(ctx context.Context, url, tag string) (string, error) {
	dir, err := os.MkdirTemp("", "rpcbuild-git")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	if err := fetchInto(ctx, dir, url, "+"+tag+":"+tag); err != nil {
		return "", err
	}
	out, err := run(ctx, dir, nil, "rev-parse", "--verify", tag+"^{commit}")
	return strings.TrimSpace(string(out)), err
}

// fetchInto makes a bare repository of what the refspecs name.
func fetchInto(ctx context.Context, dir, url string, refspecs ...string) error {
	if _, err := run(ctx, "", nil, "init", "--quiet", "--bare", "--template=", dir); err != nil {
		return err
	}
	_, err := run(ctx, dir, nil, append([]string{"fetch", "--quiet", "--no-tags", "--no-auto-gc", "--", url}, refspecs...)...)
	return err
}

var commitID = regexp.MustCompile(`^[0-9a-f]{40}([0-9a-f]{24})?$`)

// parseRefs reads what git ls-remote prints: the object id of every ref, and, apart, the commits
// that annotated tags point to.
func parseRefs(r io.Reader) (refs, peeled map[string]string, err error) {
	refs, peeled = make(map[string]string), make(map[string]string)
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		id, ref, ok := strings.Cut(lines.Text(), "\t")
		if !ok || !commitID.MatchString(id) || !strings.HasPrefix(ref, "refs/") {
			return nil, nil, fmt.Errorf("read refs: line %q: want an object id and a ref", lines.Text())
		}
		if tag, ok := strings.CutSuffix(ref, "^{}"); ok {
			peeled[tag] = id
		} else {
			refs[ref] = id
		}
	}
	return refs, peeled, lines.Err()
}

// URL returns what git is to clone: a path that is relative to the recipes folder is made absolute.
// What has a colon, as https://host/path and host:path do, is such a path only if it says so with
// a dot at its beginning.
func URL(recipesDir, url string) string {
	marked := strings.HasPrefix(url, "./") || strings.HasPrefix(url, "../")
	if marked || !strings.Contains(url, ":") && !filepath.IsAbs(url) {
		if abs, err := filepath.Abs(filepath.Join(recipesDir, url)); err == nil {
			return abs
		}
	}
	return url
}

// repositoryVariables would point git at another repository than the one that it is run in. A hook
// of git that runs rpcbuild has them in its environment.
var repositoryVariables = []string{
	"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES",
	"GIT_COMMON_DIR", "GIT_NAMESPACE", "GIT_PREFIX", "GIT_SHALLOW_FILE", "GIT_GRAFT_FILE",
}

// run runs the machine's git and returns its standard output; its errors carry what git said.
func run(ctx context.Context, dir string, stdin io.Reader, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir, cmd.Stdin = dir, stdin
	cmd.Env = slices.DeleteFunc(cmd.Environ(), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return slices.Contains(repositoryVariables, name)
	})
	cmd.Env = append(cmd.Env, "GIT_TERMINAL_PROMPT=0", "LC_ALL=C")
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return nil, errors.New("git is not installed: install the Debian package git")
	case err != nil:
		return nil, fmt.Errorf("git %s: %w: %s", args[0], err, strings.TrimSpace(said.String()))
	}
	return out, nil
}
