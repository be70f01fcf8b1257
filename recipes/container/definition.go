// Package container is the recipe of root file systems: chroots made of packages alone, containers
// that hold a role's packages, virtual environments and files, and the images of containers that
// LXC's download client reads.
package container

import (
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/rcbops/rpcbuild/recipes/spec"
)

// A Definition is what a release definition says under container.
type Definition struct {
	// Default is the container that all others are built on.
	Default Role `yaml:"default"`
	// Variants are the containers of roles, by name. A role's packages, files and commands are
	// added to those of the default.
	Variants map[string]Role `yaml:"variants"`
}

// A Role is what one container holds.
type Role struct {
	// Packages are Debian packages of the release's integrated repository.
	Packages []string `yaml:"packages" json:"packages,omitempty"`
	// Venvs are virtual environments of the python section, by name.
	Venvs []string `yaml:"venvs" json:"venvs,omitempty"`
	// Files are written after packages and virtual environments are in place.
	Files []File `yaml:"files" json:"files,omitempty"`
	// Commands run last, one after the other, in a sandbox without a network, each by sh -e. Nothing
	// can start a service.
	Commands []string `yaml:"commands" json:"commands,omitempty"`
}

// A File is one file of a container.
type File struct {
	// Path is absolute.
	Path    string `yaml:"path" json:"path"`
	Content string `yaml:"content" json:"content"`
	// Mode is octal; empty means 0644.
	Mode string `yaml:"mode" json:"mode,omitempty"`
	// Owner is user:group, names of the container or numbers; empty means root:root.
	Owner string `yaml:"owner" json:"owner,omitempty"`
}

// DefaultRole names the container that others are built on.
const DefaultRole = "default"

var (
	rolePattern    = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]*$`) // it becomes a part of a URL and of a line of the index
	packagePattern = regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]+$`)
	ownerPattern   = regexp.MustCompile(`^[a-z0-9_][a-z0-9_-]*:[a-z0-9_][a-z0-9_-]*$`)
)

// Roles returns the names of all containers: the default first, the others sorted.
func (d *Definition) Roles() []string {
	return append([]string{DefaultRole}, slices.Sorted(maps.Keys(d.Variants))...)
}

// Role returns what a container holds, with what the default gives it.
func (d *Definition) Role(name string) Role {
	if name == DefaultRole {
		return d.Default
	}
	r := d.Variants[name]
	return Role{
		Packages: slices.Concat(d.Default.Packages, r.Packages),
		Venvs:    slices.Concat(d.Default.Venvs, r.Venvs),
		Files:    slices.Concat(d.Default.Files, r.Files),
		Commands: slices.Concat(d.Default.Commands, r.Commands),
	}
}

// Validate finds what is wrong with the definition without reading anything. The error is a
// [*spec.Error].
func (d *Definition) Validate() error {
	if err := d.Default.validate("$.container.default"); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(d.Variants)) {
		at := "$.container.variants." + name
		if !rolePattern.MatchString(name) {
			return spec.Errorf(at, "%q is no name for a variant: want lower-case letters, digits, - and _", name)
		}
		if name == DefaultRole {
			return &spec.Error{Path: at, Msg: "a variant cannot be named default", Hint: "its place is container.default"}
		}
		if err := d.Variants[name].validate(at); err != nil {
			return err
		}
	}
	return nil
}

func (r Role) validate(at string) error {
	for i, p := range r.Packages {
		if !packagePattern.MatchString(p) {
			return spec.Errorf(fmt.Sprintf("%s.packages[%d]", at, i), "%q is not the name of a Debian package", p)
		}
	}
	for i, f := range r.Files {
		if err := f.validate(fmt.Sprintf("%s.files[%d]", at, i)); err != nil {
			return err
		}
	}
	for i, c := range r.Commands {
		if strings.TrimSpace(c) == "" {
			return spec.Errorf(fmt.Sprintf("%s.commands[%d]", at, i), "want a command of the shell")
		}
	}
	return nil
}

func (f File) validate(at string) error {
	if !path.IsAbs(f.Path) || path.Clean(f.Path) != f.Path || f.Path == "/" {
		return spec.Errorf(at+".path", "%q: want a clean absolute path, such as /etc/motd", f.Path)
	}
	if _, err := f.mode(); err != nil {
		return &spec.Error{Path: at + ".mode", Msg: fmt.Sprintf("mode %q is not octal", f.Mode), Hint: `in quotes, such as "0640"`}
	}
	if f.Owner != "" && !ownerPattern.MatchString(f.Owner) {
		return spec.Errorf(at+".owner", "owner %q: want user:group", f.Owner)
	}
	return nil
}

func (f File) mode() (int64, error) {
	if f.Mode == "" {
		return 0o644, nil
	}
	mode, err := strconv.ParseUint(f.Mode, 8, 12)
	return int64(mode), err
}
