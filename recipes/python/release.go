package python

import (
	"context"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/rcbops/rpcbuild/derive"
	"github.com/rcbops/rpcbuild/store"
)

const releaseKind = "python-release"

// releaseParams is what the index of a release is made of beside its inputs. The virtual
// environments are inputs so that what lists them cannot be there before them.
type releaseParams struct {
	Release  string   `json:"release"`
	Machine  string   `json:"machine"`
	Platform string   `json:"platform"`
	Packages []string `json:"packages"` // ids, sorted
	Taken    []string `json:"taken"`    // projects whose wheel is upstream's, sorted
	Venvs    []string `json:"venvs"`
	Git      []string `json:"git"` // names of git archives, sorted
}

// buildRelease lists what the release holds, and publishes the wheels that were taken as they are:
// nothing was built for them that could do it. There is no get-pip.py: every virtual environment
// has the distribution's own pip, and nothing that is not in the lock is to be run.
func buildRelease(_ context.Context, b *derive.Build) error {
	var p releaseParams
	if err := b.Params(&p); err != nil {
		return err
	}
	base := path.Join("os-releases", p.Release, p.Platform)
	files := make(map[string]string) // wheels by project
	manifest := make([]string, 0, 2*len(p.Packages)+len(p.Git))
	for _, id := range p.Packages {
		project, _, _ := strings.Cut(id, "==")
		file, err := b.InputFile(wheelInput + project)
		if err != nil {
			return err
		}
		files[project] = file
		name := filepath.Base(file)
		pool, link := poolPath(p.Platform, project, name), path.Join(base, name)
		b.Publish(store.Publication{Path: link, Link: pool})
		manifest = append(manifest, pool, link)
		if _, ok := slices.BinarySearch(p.Taken, project); !ok {
			continue
		}
		if err := os.Link(file, filepath.Join(b.Output, name)); err != nil {
			return err
		}
		b.Publish(publishWheel(p.Platform, project, name, name)...)
	}
	for _, v := range p.Venvs {
		manifest = append(manifest, venvPaths(v, p.Release, p.Machine, p.Platform)...)
	}
	for _, name := range p.Git {
		manifest = append(manifest, "openstackgit/"+name)
	}
	pins, err := pinned(p.Packages, func(project string) string { return files[project] })
	if err != nil {
		return err
	}
	return writeLists(b, base, map[string][]string{
		"requirements_constraints.txt":           p.Packages,
		"requirements_absolute_requirements.txt": pins,
	}, manifest)
}

// writeLists writes the text files of a release. The manifest lists the others, too.
func writeLists(b *derive.Build, base string, lists map[string][]string, manifest []string) error {
	for _, name := range sortedKeys(lists) {
		manifest = append(manifest, path.Join(base, name))
	}
	slices.Sort(manifest)
	lists["MANIFEST.in"] = manifest
	for _, name := range sortedKeys(lists) {
		if err := os.WriteFile(filepath.Join(b.Output, name), []byte(lines(lists[name])), 0o644); err != nil {
			return err
		}
		b.Publish(store.Publication{Path: path.Join(base, name), File: name})
	}
	return nil
}
