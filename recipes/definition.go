// Package recipes reads release definitions and their locks, and turns both into a graph of
// derivations. What a kind of artifact is, and how it is built, is in a package a kind below this
// one; they do not know each other, this package connects them.
package recipes

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/rcbops/rpcbuild/recipes/apt"
	"github.com/rcbops/rpcbuild/recipes/container"
	"github.com/rcbops/rpcbuild/recipes/git"
	"github.com/rcbops/rpcbuild/recipes/python"
	"github.com/rcbops/rpcbuild/recipes/spec"
)

// A Definition is a release as its YAML file describes it.
type Definition struct {
	Distribution spec.Distribution `yaml:"distribution"`
	// URL is the web root where clients will find rpc-repo; images have it as their apt source.
	URL string `yaml:"url"`
	// ReleaseCandidate is the git branch of the recipes that the release is delivered from, if there is
	// one: see [Release.CheckReplace]. It changes nothing of what is built.
	ReleaseCandidate string `yaml:"release_candidate"`
	// Chroots lists the Debian packages of the root file systems that others are built in.
	Chroots Chroots        `yaml:"chroots"`
	Apt     apt.Definition `yaml:"apt"`
	// The other stages may be absent.
	Git       *git.Definition       `yaml:"git"`
	Python    *python.Definition    `yaml:"python"`
	Container *container.Definition `yaml:"container"`
}

// Chroots are lists of packages. Each chroot is resolved from the release's integrated repository.
type Chroots struct {
	// Base is in every chroot that something is built in, beside what Debian calls essential or
	// required.
	Base []string `yaml:"base"`
}

// releasesDir is the folder of definitions and locks in a recipes folder.
const releasesDir = "releases"

// List returns the names of the releases that are defined in the recipes folder dir, sorted.
func List(dir string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(dir, releasesDir))
	if err != nil {
		return nil, &spec.FileError{File: filepath.Join(dir, releasesDir), Msg: "it cannot be read: " + unwrapPath(err),
			Hint: "name the folder with --recipes; it has release definitions in " + releasesDir + "/NAME.yaml"}
	}
	var names []string
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), ".yaml"); ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}

func definitionFile(dir, release string) string {
	return filepath.Join(dir, releasesDir, release+".yaml")
}

// readDefinition reads and checks one definition. Its errors are [*spec.FileError]s.
func readDefinition(dir, release string) (*Definition, error) {
	file := definitionFile(dir, release)
	content, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		known, err := List(dir)
		if err != nil {
			return nil, err
		}
		return nil, &spec.FileError{File: file, Msg: fmt.Sprintf("release %q is not defined", release), Hint: spec.Suggest(release, known)}
	}
	if err != nil {
		return nil, fmt.Errorf("read definition: %w", err)
	}
	var d Definition
	if err := spec.DecodeYAML(file, content, &d); err != nil {
		return nil, err
	}
	if err := d.validate(); err != nil {
		return nil, spec.Locate(file, content, err)
	}
	return &d, nil
}

func (d *Definition) validate() error {
	for _, f := range []struct{ path, value string }{
		{"$.distribution.id", d.Distribution.ID}, {"$.distribution.version", d.Distribution.Version},
		{"$.distribution.codename", d.Distribution.Codename}, {"$.distribution.arch", d.Distribution.Arch},
		{"$.url", d.URL},
	} {
		if f.value == "" {
			return spec.Errorf(f.path, "%s is missing", strings.TrimPrefix(f.path, "$."))
		}
	}
	if !strings.HasPrefix(d.URL, "http://") && !strings.HasPrefix(d.URL, "https://") || strings.HasSuffix(d.URL, "/") {
		return spec.Errorf("$.url", "url %q: want an http or https URL without a slash at its end", d.URL)
	}
	if d.ReleaseCandidate != "" {
		if err := git.CheckBranch(d.ReleaseCandidate); err != nil {
			return spec.Errorf("$.release_candidate", "%v", err)
		}
	}
	if err := d.Apt.Validate(); err != nil {
		return err
	}
	if d.Git != nil {
		if err := d.Git.Validate(); err != nil {
			return err
		}
	}
	if d.Python != nil {
		if err := d.Python.Validate(); err != nil {
			return err
		}
	}
	if d.Container == nil {
		return nil
	}
	if err := d.Container.Validate(); err != nil {
		return err
	}
	return d.validateVenvs()
}

// validateVenvs checks what the container section says of the python section.
func (d *Definition) validateVenvs() error {
	var known []string
	if d.Python != nil {
		known = slices.Sorted(maps.Keys(d.Python.Venvs))
	}
	for role, v := range d.Container.Variants {
		for i, venv := range v.Venvs {
			if !slices.Contains(known, venv) {
				return spec.Unknown(fmt.Sprintf("$.container.variants.%s.venvs[%d]", role, i), "venv", venv, known)
			}
		}
	}
	return nil
}

func unwrapPath(err error) string {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err.Error()
	}
	return err.Error()
}
