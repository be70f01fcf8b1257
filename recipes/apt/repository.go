package apt

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/aptly-dev/aptly/deb"
	"golang.org/x/sync/errgroup"

	"github.com/rcbops/rpcbuild/derive"
	"github.com/rcbops/rpcbuild/store"
)

// repositoryKind builds an apt repository from .debs. Its output lies at the paths where it is
// published, and its packages are hard links of its inputs.
//
// aptly's own publishing is not used: it stamps Release with the clock, hashes each file four
// times and keeps its state in a database. The index entries are made by aptly's types.
const repositoryKind = "apt"

// repository is the params of a repositoryKind node.
type repository struct {
	Prefix        string        `json:"prefix"`          // where, under the web root
	Alias         string        `json:"alias,omitempty"` // another path to publish it at, as links
	Suite         string        `json:"suite"`
	Component     string        `json:"component"`
	Architectures []string      `json:"architectures"`
	Label         string        `json:"label"`
	Time          int64         `json:"time"`
	Packages      []poolPackage `json:"packages"`

	native string // the architecture that packages are picked for; no part of the repository
}

// poolPackage is a package to publish. Its input has its id as name.
type poolPackage struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	Arch    string `json:"arch"`
	Size    int64  `json:"size"`
	SHA256  string `json:"sha256"`
}

func (p poolPackage) id() string { return p.Name + "_" + p.Version + "_" + p.Arch }

// sort puts the newest version of a package first, as readers of indexes like it.
func (r *repository) sort() {
	slices.SortFunc(r.Packages, func(a, b poolPackage) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), deb.CompareVersions(b.Version, a.Version),
			strings.Compare(b.Version, a.Version), strings.Compare(a.Arch, b.Arch))
	})
}

func buildRepository(ctx context.Context, b *derive.Build) error {
	var r repository
	if err := b.Params(&r); err != nil {
		return err
	}
	entries, err := r.read(ctx, b)
	if err != nil {
		return err
	}
	root := filepath.Join(b.Output, filepath.FromSlash(r.Prefix))
	if err := r.link(entries, root); err != nil {
		return fmt.Errorf("fill pool: %w", err)
	}
	if err := r.writeIndexes(entries, filepath.Join(root, "dists", filepath.FromSlash(r.Suite))); err != nil {
		return err
	}
	b.Logf("%s %s: %d packages", r.Prefix, r.Suite, len(entries))
	return r.publish(b)
}

// entry is one package of the repository.
type entry struct {
	*deb.Package
	file     string // the input
	filename string // relative to the repository
}

// read reads the control file of every package, in the order of r.Packages.
func (r *repository) read(ctx context.Context, b *derive.Build) ([]entry, error) {
	entries := make([]entry, len(r.Packages))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i, p := range r.Packages {
		g.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			file, err := b.InputFile(p.id())
			if err != nil {
				return err
			}
			pkg, err := readPackage(file, p)
			entries[i] = entry{Package: pkg, file: file}
			return err
		})
	}
	return entries, g.Wait()
}

// readPackage reads the control file of a .deb, and refuses one that says to be another package.
func readPackage(file string, p poolPackage) (*deb.Package, error) {
	control, err := deb.GetControlFileFromDeb(file)
	if errors.Is(err, exec.ErrNotFound) { // aptly leaves xz to the program
		return nil, fmt.Errorf("read package %s: %w (install the Debian package xz-utils)", p.id(), err)
	}
	if err != nil {
		return nil, fmt.Errorf("read package %s: %w", p.id(), err)
	}
	for field, want := range map[string]string{"Package": p.Name, "Version": p.Version, "Architecture": p.Arch} {
		if got := control[field]; got != want {
			return nil, fmt.Errorf("package %s: the .deb says %s: %q", p.id(), field, got)
		}
	}
	control["Size"] = strconv.FormatInt(p.Size, 10)
	control["SHA256"] = p.SHA256
	return deb.NewPackageFromControlFile(control), nil
}

// link puts the packages into the pool below root.
func (r *repository) link(entries []entry, root string) error {
	taken := make(map[string]bool, len(entries))
	for i := range entries {
		e := &entries[i]
		pool, err := poolDir(e.GetField("$Source"))
		if err != nil {
			return fmt.Errorf("package %s: %w", e.GetFullName(), err)
		}
		e.filename = path.Join("pool", r.Component, pool, filepath.Base(e.file))
		if taken[e.filename] { // file names lack the epoch of a version
			e.filename = path.Join(path.Dir(e.filename), r.Packages[i].SHA256, path.Base(e.filename))
		}
		taken[e.filename] = true
		to := filepath.Join(root, filepath.FromSlash(e.filename))
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		if err := os.Link(e.file, to); err != nil {
			return err
		}
	}
	return nil
}

// poolDir returns the folder of a source package as Debian's pool has it. aptly's own function
// panics on a source named lib, and lets one named ../x out of the pool.
func poolDir(source string) (string, error) {
	if !namePattern.MatchString(source) {
		return "", fmt.Errorf("%q is not the name of a source package", source)
	}
	initial := source[:1]
	if strings.HasPrefix(source, "lib") && len(source) > 3 {
		initial = source[:4]
	}
	return path.Join(initial, source), nil
}

// publish names every file of the output at its own path, and at the alias.
func (r *repository) publish(b *derive.Build) error {
	release := path.Join(r.Prefix, "dists", r.Suite, "Release")
	return filepath.WalkDir(b.Output, func(name string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(b.Output, name)
		if err != nil {
			return err
		}
		p := store.Publication{Path: filepath.ToSlash(rel), File: filepath.ToSlash(rel)}
		if p.Path == release { // the publisher puts the signatures beside it
			p.Sign = store.SignRelease
			r.alias(b, path.Join(path.Dir(release), "InRelease"))
			r.alias(b, release+".gpg")
		}
		b.Publish(p)
		r.alias(b, p.Path)
		return nil
	})
}

// alias publishes a link to a path of the repository.
func (r *repository) alias(b *derive.Build, to string) {
	if r.Alias != "" {
		b.Publish(store.Publication{Path: path.Join(r.Alias, strings.TrimPrefix(to, r.Prefix+"/")), Link: to})
	}
}
