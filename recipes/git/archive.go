package git

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/rcbops/rpcbuild/derive"
	"github.com/rcbops/rpcbuild/derive/archive"
	"github.com/rcbops/rpcbuild/derive/sandbox"
	"github.com/rcbops/rpcbuild/store"
)

const (
	archiveKind = "git"
	releaseKind = "git-release"
)

// Kinds returns the builders of this package.
func Kinds() []derive.Kind {
	return []derive.Kind{
		{Name: archiveKind, Version: "1", Sandbox: true, Network: true, Build: buildArchive},
		{Name: releaseKind, Version: "1", Build: buildRelease},
	}
}

type archiveParams struct {
	Name string `json:"name"`
	Pin
}

// buildArchive fetches with the machine's git, and makes everything that is kept with the git of the
// git chroot, so that the machine's version decides nothing.
func buildArchive(ctx context.Context, b *derive.Build) error {
	var p archiveParams
	if err := b.Params(&p); err != nil {
		return err
	}
	var url string
	if err := json.Unmarshal(b.Source, &url); err != nil {
		return fmt.Errorf("read source: %w", err)
	}
	mirror := filepath.Join(b.Scratch, "mirror.git")
	if err := fetch(ctx, b, mirror, url, p.Pin); err != nil {
		return err
	}
	s, err := openSandbox(b)
	if err != nil {
		return err
	}
	defer s.Close()
	clone, err := cloneInSandbox(ctx, b, s, mirror, p)
	if err != nil {
		return err
	}
	date, err := run(ctx, mirror, nil, "show", "--no-patch", "--no-show-signature", "--format=%ct", p.Commit)
	if err != nil {
		return err
	}
	clamp, err := strconv.ParseInt(strings.TrimSpace(string(date)), 10, 64)
	if err != nil {
		return fmt.Errorf("date of commit %s: %w", p.Commit, err)
	}
	return archive.WriteTgz(filepath.Join(b.Output, p.Name), clone, archive.Options{Prefix: p.Name + "/", Clamp: clamp, Root: true})
}

// fetch makes a bare repository that holds exactly the pinned refs and what they reach.
func fetch(ctx context.Context, b *derive.Build, mirror, url string, pin Pin) error {
	b.Logf("fetch %s", url)
	if err := fetchInto(ctx, mirror, url, "+refs/heads/*:refs/upstream/heads/*", "+refs/tags/*:refs/upstream/tags/*"); err != nil {
		return err
	}
	var refs bytes.Buffer
	for _, ref := range slices.Sorted(maps.Keys(pin.Refs)) {
		id := pin.Refs[ref]
		if err := ensure(ctx, mirror, url, ref, id); err != nil {
			return err
		}
		fmt.Fprintf(&refs, "create %s %s\n", ref, id)
	}
	if err := ensure(ctx, mirror, url, pin.Version, pin.Commit); err != nil {
		return err
	}
	_, err := run(ctx, mirror, &refs, "update-ref", "--stdin")
	return err
}

// ensure asks for a pinned object by its id where no ref of upstream leads to it any more.
func ensure(ctx context.Context, mirror, url, ref, id string) error {
	if _, err := run(ctx, mirror, nil, "cat-file", "-e", id); err == nil {
		return nil
	}
	if _, err := run(ctx, mirror, nil, "fetch", "--quiet", "--no-tags", "--no-auto-gc", "--", url, id); err != nil {
		return fmt.Errorf("%s no longer has %s, which the lock pins for %s: update the lock, or restore it upstream: %w", url, id, ref, err)
	}
	return nil
}

// makeClone runs in the sandbox: $1 is the repository's name, $2 its commit, $3 the ref that HEAD
// names or nothing.
//
// One pack is made anew from a sorted list of objects by one thread, because what a server packed
// for us depends on its version and its mood. The mirror is read-only, so the pack goes through a file
// of ours. The index is written without stat data, which would
// be this machine's inodes and clock; git fills it in when it first looks. Every file gets the time of
// the commit, even one that lies in the future.
const makeClone = `set -eu
export GIT_DIR="/build/$1/.git" GIT_WORK_TREE="/build/$1" GIT_CONFIG_NOSYSTEM=1
git config --global --add safe.directory '*'
mkdir -p "/build/$1" && cd "/build/$1"
git init --quiet --template= --initial-branch=master
GIT_DIR=/mirror git for-each-ref --format='create %(refname) %(objectname)' refs/heads refs/tags > /build/refs
(echo "$2"; cut -d' ' -f3 /build/refs) > /build/tips
GIT_DIR=/mirror git rev-list --objects --stdin < /build/tips > /build/reached
LC_ALL=C sort -u /build/reached > /build/objects
GIT_DIR=/mirror git -c pack.threads=1 -c pack.compression=6 pack-objects --quiet --no-reuse-delta --no-reuse-object \
	--delta-base-offset --stdout < /build/objects > /build/pack
git index-pack --stdin < /build/pack > /dev/null
rm -f "$GIT_DIR"/objects/pack/*.rev
git update-ref --stdin < /build/refs
if [ -n "$3" ]; then git symbolic-ref HEAD "$3"; else git update-ref --no-deref HEAD "$2"; fi
git pack-refs --all
git update-server-info
git read-tree "$2"
git checkout-index --all --force
rm -rf "$GIT_DIR/logs" "$GIT_DIR/hooks" "$GIT_DIR/branches" "$GIT_DIR/description"
git fsck --full --strict --no-dangling --no-progress >/dev/null || echo "git fsck has complaints, which upstream's history carries"
find "/build/$1" -exec touch --no-dereference --date="@$(git show --no-patch --format=%ct "$2")" {} +
`

func openSandbox(b *derive.Build) (*sandbox.Sandbox, error) {
	scratch := filepath.Join(b.Scratch, "sandbox")
	if err := os.Mkdir(scratch, 0o755); err != nil {
		return nil, err
	}
	return sandbox.Open(scratch, b.Input("git"))
}

// cloneInSandbox returns the folder, on the host's side, of a clone that depends on nothing but
// the pinned objects and the git of the chroot.
func cloneInSandbox(ctx context.Context, b *derive.Build, s *sandbox.Sandbox, mirror string, p archiveParams) (string, error) {
	head := "refs/heads/" + p.Version
	if p.Refs[head] != p.Commit {
		head = ""
	}
	const script = "/clone-repository"
	if err := os.WriteFile(filepath.Join(s.Root, script), []byte(makeClone), 0o644); err != nil {
		return "", err
	}
	err := s.Run(ctx, sandbox.Command{
		Args:  []string{"sh", script, p.Name, p.Commit, head},
		Binds: []sandbox.Bind{{Source: mirror, Target: "/mirror"}}, Log: b.Log,
	})
	return filepath.Join(s.Root, "build", p.Name), err
}

type releaseParams struct {
	Release string `json:"release"`
}

// buildRelease gathers the archives of a release under the paths that clients read. It is apart
// from the archives so that a new release packs nothing again.
func buildRelease(_ context.Context, b *derive.Build) error {
	var p releaseParams
	if err := b.Params(&p); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(b.Drv.Inputs)) {
		for _, ext := range []string{".tgz", ".checksum"} {
			if err := os.Link(filepath.Join(b.Input(name), name+ext), filepath.Join(b.Output, name+ext)); err != nil {
				return err
			}
			b.Publish(store.Publication{Path: "git-archives/" + p.Release + "/" + name + ext, File: name + ext})
		}
	}
	return nil
}
