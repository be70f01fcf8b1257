// Package python is the recipe of python artifacts: the requirements of services are resolved into
// a lock of exact files, what is compiled is built from its source archive against the libraries of
// the release's own chroot, and each service gets a virtual environment at its final path.
package python

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/rcbops/rpcbuild/recipes/spec"
	"github.com/rcbops/rpcbuild/store"
)

// A Definition is what a release definition says under python.
type Definition struct {
	// Constraints is a file of pip constraints, relative to the recipes folder. It bounds what
	// services hold, and says nothing of what is only needed to build.
	Constraints string `yaml:"constraints" json:"constraints"`
	// BuildConstraints bound what is needed to build, such as "setuptools<81".
	BuildConstraints []string `yaml:"build_constraints" json:"build_constraints,omitempty"`
	// Venvs are the virtual environments, by the name of their service.
	Venvs map[string]Venv `yaml:"venvs" json:"venvs"`
	// Packages are the Debian packages of the chroot that wheels are built in.
	Packages []string `yaml:"packages" json:"packages"`
	// Binary names projects whose compiled wheel is upstream's, where it would be built otherwise.
	Binary []string `yaml:"binary" json:"binary,omitempty"`
	// Pure names projects that may be without compiled code, because only a special build of
	// theirs has it: upstream's pure wheel is taken, or else what the source gives.
	Pure []string `yaml:"pure" json:"pure,omitempty"`
}

// A Venv is one service's virtual environment.
type Venv struct {
	// Requirements are pip's, such as "keystone[ldap]==29.1.0".
	Requirements []string `yaml:"requirements" json:"requirements"`
}

var (
	venvPattern    = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]*$`)
	packagePattern = regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]+$`)
)

// Validate finds what is wrong with the definition without reading anything. The error is a
// [*spec.Error].
func (d *Definition) Validate() error {
	if d.Constraints != "" && !below(d.Constraints) {
		return &spec.Error{Path: "$.python.constraints", Msg: fmt.Sprintf("%q is not a path below the recipes folder", d.Constraints),
			Hint: "such as constraints/upper-constraints.txt"}
	}
	for i, r := range d.BuildConstraints {
		if err := checkRequirement(fmt.Sprintf("$.python.build_constraints[%d]", i), r); err != nil {
			return err
		}
	}
	if len(d.Venvs) == 0 {
		return spec.Errorf("$.python.venvs", "want at least one virtual environment")
	}
	for _, name := range sortedKeys(d.Venvs) {
		if err := d.validateVenv(name); err != nil {
			return err
		}
	}
	if len(d.Packages) == 0 {
		return &spec.Error{Path: "$.python.packages", Msg: "want the Debian packages that wheels are built with",
			Hint: "at least build-essential, python3-dev, python3-pip and python3-venv"}
	}
	for i, p := range d.Packages {
		if !packagePattern.MatchString(p) {
			return spec.Errorf(fmt.Sprintf("$.python.packages[%d]", i), "%q is not the name of a Debian package", p)
		}
	}
	return d.validateOverrides()
}

// validateOverrides checks what is said of projects by name.
func (d *Definition) validateOverrides() error {
	for _, list := range []struct {
		name     string
		projects []string
	}{{"binary", d.Binary}, {"pure", d.Pure}} {
		for i, p := range list.projects {
			at := fmt.Sprintf("$.python.%s[%d]", list.name, i)
			switch {
			case !projectPattern.MatchString(p):
				return spec.Errorf(at, "%q is not the name of a project", p)
			case names(list.projects[:i], normalize(p)):
				return spec.Errorf(at, "%s is listed twice", p)
			case list.name == "pure" && names(d.Binary, normalize(p)):
				return spec.Errorf(at, "%s is listed under binary, too", p)
			}
		}
	}
	return nil
}

func (d *Definition) validateVenv(name string) error {
	at := "$.python.venvs." + name
	if !venvPattern.MatchString(name) {
		return spec.Errorf(at, "%q is not a name: want small letters, digits and dashes", name)
	}
	requirements := d.Venvs[name].Requirements
	if len(requirements) == 0 {
		return spec.Errorf(at+".requirements", "want at least one requirement, such as %s", name)
	}
	for i, r := range requirements {
		if err := checkRequirement(fmt.Sprintf("%s.requirements[%d]", at, i), r); err != nil {
			return err
		}
	}
	return nil
}

// checkRequirement refuses what is not a name from an index with versions, such as a URL, a path or
// an option of pip: those would be outside of the lock.
func checkRequirement(at, requirement string) error {
	if requirementPattern.MatchString(requirement) {
		return nil
	}
	return &spec.Error{Path: at, Msg: fmt.Sprintf("%q is not a requirement", requirement),
		Hint: "want a project's name and versions, such as keystone[ldap]==29.1.0"}
}

func below(name string) bool {
	return !path.IsAbs(name) && path.Clean(name) == name && name != ".." && !strings.HasPrefix(name, "../")
}

// names reports whether a list of projects, in any spelling, has the normalized name.
func names(list []string, project string) bool {
	return slices.ContainsFunc(list, func(p string) bool { return normalize(p) == project })
}

// Digest is the SHA-256 of the definition and of the content of its constraints.
func (d *Definition) Digest(recipesDir string) (digest.Digest, error) {
	sum, err := d.constraintsDigest(recipesDir)
	if err != nil {
		return "", err
	}
	b, err := store.CanonicalJSON(struct {
		*Definition
		Content digest.Digest `json:"content"`
	}{d, sum})
	if err != nil {
		return "", err
	}
	return digest.FromBytes(b), nil
}

func (d *Definition) constraintsDigest(recipesDir string) (digest.Digest, error) {
	b, err := d.readConstraints(recipesDir)
	if err != nil {
		return "", err
	}
	return digest.FromBytes(b), nil
}

// readConstraints returns the constraints without comments and empty lines, which decide nothing.
func (d *Definition) readConstraints(recipesDir string) ([]byte, error) {
	if d.Constraints == "" {
		return nil, nil
	}
	file := filepath.Join(recipesDir, filepath.FromSlash(d.Constraints))
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, spec.Errorf("$.python.constraints", "there are no constraints %s", file)
	}
	if err != nil {
		return nil, fmt.Errorf("read constraints: %w", err)
	}
	var lines bytes.Buffer
	for line := range strings.Lines(string(b)) {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "#") {
			lines.WriteString(line + "\n")
		}
	}
	return lines.Bytes(), nil
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
