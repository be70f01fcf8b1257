package python

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/rcbops/rpcbuild/store"
)

// A Lock is what the index answered: each file that services hold or that is needed to build one,
// by content. It holds no URL.
type Lock struct {
	// The first fields repeat the definition, so that a lock that no longer fits it is noticed.
	Constraints      digest.Digest `json:"constraints"` // of the file's content
	BuildConstraints []string      `json:"build_constraints,omitempty"`
	Binary           []string      `json:"binary,omitempty"`
	Pure             []string      `json:"pure,omitempty"`

	// Python is the version that was resolved for, such as 3.13.
	Python string `json:"python"`
	// Venvs are the environments, by service.
	Venvs map[string]VenvLock `json:"venvs"`
	// Packages are sorted by name and version.
	Packages []Package `json:"packages"`
}

// A VenvLock is the exact set of one virtual environment.
type VenvLock struct {
	Requirements []string `json:"requirements"`
	// Packages are ids of packages, sorted.
	Packages []string `json:"packages"`
}

// A Package is one version of a project.
type Package struct {
	Name    string `json:"name"` // normalized
	Version string `json:"version"`
	// File is a wheel that is taken as it is, or, with Build, a source archive.
	File  File `json:"file"`
	Build bool `json:"build,omitempty"`
	// Compiled says that upstream's own wheel is compiled: the one that is built from source must
	// not be less. Many projects fall back to plain Python where a compiler or header is missing.
	Compiled bool `json:"compiled,omitempty"`
	// Requires are the ids of the exact packages that it is built with, sorted.
	Requires []string `json:"requires,omitempty"`
}

// A File is one file of an index.
type File struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

// ID names a package in a lock: name==version.
func (p Package) ID() string { return p.Name + "==" + p.Version }

// ParseLock reads a lock and checks that it is whole.
func ParseLock(b []byte) (*Lock, error) {
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	var l Lock
	if err := dec.Decode(&l); err != nil {
		return nil, fmt.Errorf("read python lock: %w", err)
	}
	if err := l.check(); err != nil {
		return nil, err
	}
	return &l, nil
}

// Package returns the package with that id.
func (l *Lock) Package(id string) (Package, bool) {
	i, ok := slices.BinarySearchFunc(l.Packages, id, func(p Package, id string) int { return strings.Compare(p.ID(), id) })
	if !ok {
		return Package{}, false
	}
	return l.Packages[i], true
}

// Versions returns the version of each package that a service holds, by project.
func (l *Lock) Versions() map[string]string {
	versions := make(map[string]string)
	for _, v := range l.Venvs {
		for _, id := range v.Packages {
			if p, ok := l.Package(id); ok {
				versions[p.Name] = p.Version
			}
		}
	}
	return versions
}

// Check says whether the lock was made for the definition, and whether it is whole.
func (l *Lock) Check(d *Definition, recipesDir string) error {
	sum, err := d.constraintsDigest(recipesDir)
	if err != nil {
		return err
	}
	if diff := l.difference(d, sum); diff != "" {
		return fmt.Errorf("python lock: it was made for other %s than the definition's (resolve the release again)", diff)
	}
	return l.check()
}

// difference returns what the definition says that l was not made for, or "".
func (l *Lock) difference(d *Definition, constraints digest.Digest) string {
	switch {
	case l.Constraints != constraints:
		return "constraints"
	case !slices.Equal(l.BuildConstraints, d.BuildConstraints):
		return "build_constraints"
	case !slices.Equal(l.Binary, d.Binary):
		return "binary"
	case !slices.Equal(l.Pure, d.Pure):
		return "pure"
	case !slices.Equal(sortedKeys(l.Venvs), sortedKeys(d.Venvs)):
		return "venvs"
	}
	for _, name := range sortedKeys(d.Venvs) {
		if !slices.Equal(l.Venvs[name].Requirements, d.Venvs[name].Requirements) {
			return "requirements of " + name
		}
	}
	return ""
}

// check refuses names that could not be published, content that is no content, and ids of packages
// that are not there.
func (l *Lock) check() error {
	for i, p := range l.Packages {
		if err := p.check(); err != nil {
			return fmt.Errorf("python lock: package %s: %w", p.ID(), err)
		}
		if i > 0 && l.Packages[i-1].ID() >= p.ID() {
			return fmt.Errorf("python lock: package %s: listed twice or out of order", p.ID())
		}
	}
	for _, p := range l.Packages {
		if err := l.checkIDs(p.Requires); err != nil {
			return fmt.Errorf("python lock: package %s: requires: %w", p.ID(), err)
		}
	}
	for _, name := range sortedKeys(l.Venvs) {
		if !venvPattern.MatchString(name) {
			return fmt.Errorf("python lock: %q is not the name of a venv", name)
		}
		if err := l.checkIDs(l.Venvs[name].Packages); err != nil {
			return fmt.Errorf("python lock: venv %s: %w", name, err)
		}
	}
	return l.checkAgreement()
}

// checkAgreement refuses two venvs that hold different versions of a project: the release has one
// list of pins.
func (l *Lock) checkAgreement() error {
	seen := make(map[string]string) // id by project
	for _, name := range sortedKeys(l.Venvs) {
		for _, id := range l.Venvs[name].Packages {
			p, _ := l.Package(id)
			if other, ok := seen[p.Name]; ok && other != id {
				return fmt.Errorf("python lock: venvs hold both %s and %s (constrain %s to one version)", other, id, p.Name)
			}
			seen[p.Name] = id
		}
	}
	return nil
}

func (l *Lock) checkIDs(ids []string) error {
	for i, id := range ids {
		if _, ok := l.Package(id); !ok {
			return fmt.Errorf("package %s is not in the lock", id)
		}
		if i > 0 && ids[i-1] >= id {
			return fmt.Errorf("package %s is listed twice or out of order", id)
		}
	}
	return nil
}

func (p Package) check() error {
	switch {
	case !projectPattern.MatchString(p.Name) || normalize(p.Name) != p.Name:
		return fmt.Errorf("%q is not a normalized name", p.Name)
	case !versionPattern.MatchString(p.Version):
		return fmt.Errorf("%q is not a version", p.Version)
	case !filePattern.MatchString(p.File.Name):
		return fmt.Errorf("%q is not the name of a file", p.File.Name)
	case p.Build && !isSource(p.File.Name):
		return fmt.Errorf("%s is to be built, and is not a source archive", p.File.Name)
	case !p.Build && len(p.Requires) > 0:
		return fmt.Errorf("%s is not to be built, and requires something to build", p.File.Name)
	}
	if !p.Build {
		w, err := parseWheelName(p.File.Name)
		if err != nil {
			return err
		}
		if w.Project != p.Name {
			return fmt.Errorf("%s is a wheel of %s", p.File.Name, w.Project)
		}
	}
	_, err := p.File.blob()
	return err
}

// blob returns the file's content.
func (f File) blob() (store.Blob, error) {
	b, err := store.ParseBlob(f.SHA256, f.Size)
	if err != nil {
		return b, fmt.Errorf("%s: %w", f.Name, err)
	}
	return b, nil
}

// sort brings packages into the lock's order.
func (l *Lock) sort() {
	slices.SortFunc(l.Packages, func(a, b Package) int { return cmp.Compare(a.ID(), b.ID()) })
}
