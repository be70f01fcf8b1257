// Package git turns upstream repositories into tarballs of full clones that are the same bits on
// every machine.
package git

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/rcbops/rpcbuild/derive"
	"github.com/rcbops/rpcbuild/recipes/spec"
)

// A Definition names the repositories of a release.
type Definition struct {
	// Repositories are known to clients by their keys.
	Repositories map[string]Repository `yaml:"repositories" json:"repositories"`
}

// A Repository is where one is, and at which version the release has it.
type Repository struct {
	// URL is whatever git can clone: a path (relative to the recipes folder), a bundle, a URL.
	URL string `yaml:"url" json:"-"`
	// Version is a branch, a tag, or a full commit id.
	Version string `yaml:"version" json:"version"`
}

var repositoryName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]*$`)

// Validate returns a [*spec.Error] for what cannot be.
func (d *Definition) Validate() error {
	for _, name := range slices.Sorted(maps.Keys(d.Repositories)) {
		r, path := d.Repositories[name], "$.git.repositories."+name
		switch {
		case !repositoryName.MatchString(name):
			return spec.Errorf(path, "repository name %q: want letters, digits, dashes, underscores and dots", name)
		case r.URL == "":
			return spec.Errorf(path, "no url")
		case r.Version == "" || strings.HasPrefix(r.Version, "-"):
			return spec.Errorf(path, "version %q: want a branch, a tag or a full commit id", r.Version)
		}
	}
	return nil
}

// A Lock is what the repositories held when the release was resolved.
type Lock struct {
	Repositories map[string]Pin `json:"repositories"`
}

// A Pin is one repository at one moment.
type Pin struct {
	Version string `json:"version"`
	// Commit is what Version named.
	Commit string `json:"commit"`
	// Refs are all branches and tags, from full name to object id.
	Refs map[string]string `json:"refs"`
}

// Nodes returns the node of what the release publishes: an archive of each repository, which has a
// node of its own. recipesDir is what relative URLs are relative to; git is a chroot that has it.
func (d *Definition) Nodes(l *Lock, rel spec.Release, recipesDir string, git *derive.Node) (*derive.Node, error) {
	archives := make(map[string]derive.Input)
	for _, name := range slices.Sorted(maps.Keys(d.Repositories)) {
		pin, ok := l.Repositories[name]
		switch version := d.Repositories[name].Version; {
		case !ok:
			return nil, fmt.Errorf("the lock has no git repository %s", name)
		case pin.Version != version:
			return nil, fmt.Errorf("git repository %s: the lock is for version %s, the definition wants %s", name, pin.Version, version)
		}
		archives[name] = derive.Input{Node: &derive.Node{
			Name: "git/" + name, Kind: archiveKind,
			Params: archiveParams{Name: name, Pin: pin},
			Inputs: map[string]derive.Input{"git": {Node: git, Unpack: true}},
			Source: URL(recipesDir, d.Repositories[name].URL),
		}}
	}
	return &derive.Node{Name: "git/release", Kind: releaseKind, Params: releaseParams{Release: rel.Name}, Inputs: archives}, nil
}
