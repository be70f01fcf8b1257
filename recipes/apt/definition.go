// Package apt is the recipe of apt artifacts: upstream repositories are read into a lock, what the
// lock holds is published as repositories of the release's own, and exact lists of packages are
// picked from those.
//
// Queries, dependencies, versions and control files are aptly's, used as a library: a filter means
// here what it means there.
package apt

import (
	"fmt"
	"maps"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/aptly-dev/aptly/deb"
	"github.com/aptly-dev/aptly/query"

	"github.com/rcbops/rpcbuild/recipes/spec"
)

// A Definition is what a release definition says under apt.
type Definition struct {
	// Architectures are those to mirror, such as amd64. Packages for all of them are always in.
	Architectures []string `yaml:"architectures"`
	// Mirrors are the upstream repositories, by a name of the writer's choice.
	Mirrors map[string]Mirror `yaml:"mirrors"`
	// Integrated lists the mirrors that are merged into one repository, all versions kept.
	Integrated []string `yaml:"integrated"`
	// Independent lists, by the last part of its path, repositories that are published apart.
	Independent map[string][]string `yaml:"independent"`
}

// A Mirror is one suite of an upstream repository, and what is wanted of it.
type Mirror struct {
	// Archive is the URL that dists is below of, or [Host].
	Archive    string   `yaml:"archive"`
	Suite      string   `yaml:"suite"`
	Components []string `yaml:"components"`
	// Keyring is the file with the keys that may sign the suite, armored or binary, relative to
	// the recipes folder.
	Keyring string `yaml:"keyring"`
	// Filter is an aptly package query. An empty one stands for every package.
	Filter string `yaml:"filter"`
	// Dependencies asks for what the picked packages depend on, too.
	Dependencies bool `yaml:"dependencies"`
	// Follow lists relations to follow beside Depends and Pre-Depends: Recommends, Suggests.
	Follow []string `yaml:"follow"`
	// Updates names, instead of a filter, the mirror whose packages this one has newer versions
	// of. The filter of that one is asked of both: a package that an update newly needs is found,
	// and so is an update of what is only a dependency.
	Updates string `yaml:"updates"`
}

// Host as a mirror's archive stands for the archive that this machine's own apt is configured with.
const Host = "host"

// followOptions are aptly's names for what Follow lists.
func followOptions() map[string]int {
	return map[string]int{"Recommends": deb.DepFollowRecommends, "Suggests": deb.DepFollowSuggests}
}

var (
	wordPattern  = regexp.MustCompile(`^[a-z0-9][a-z0-9-]*$`)                              // an architecture
	destPattern  = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)                      // a folder
	suitePattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._+-]*(/[A-Za-z0-9._+-]+)*$`) // below dists
)

// Validate finds what is wrong with the definition without reading anything. The error is a
// [*spec.Error].
func (d *Definition) Validate() error {
	if len(d.Mirrors)+len(d.Integrated)+len(d.Independent) == 0 {
		return nil // a release without an apt stage
	}
	if len(d.Architectures) == 0 {
		return spec.Errorf("$.apt.architectures", "want at least one architecture, such as amd64")
	}
	for i, arch := range d.Architectures {
		at := fmt.Sprintf("$.apt.architectures[%d]", i)
		switch {
		case !wordPattern.MatchString(arch):
			return spec.Errorf(at, "%q is not the name of an architecture", arch)
		case arch == deb.ArchitectureAll || arch == deb.ArchitectureSource:
			return spec.Errorf(at, "%s is not an architecture of a machine", arch)
		case slices.Index(d.Architectures, arch) < i:
			return spec.Errorf(at, "%s is listed twice", arch)
		}
	}
	for _, name := range sortedKeys(d.Mirrors) {
		if err := d.validateMirror(name); err != nil {
			return err
		}
	}
	if len(d.Integrated) > 0 || len(d.Independent) == 0 {
		if err := d.validateNames("$.apt.integrated", d.Integrated); err != nil {
			return err
		}
	}
	for _, dest := range sortedKeys(d.Independent) {
		at := "$.apt.independent." + dest
		if !destPattern.MatchString(dest) {
			return spec.Errorf(at, "%q is not the name of a folder", dest)
		}
		if err := d.validateNames(at, d.Independent[dest]); err != nil {
			return err
		}
	}
	return nil
}

func (d *Definition) validateMirror(name string) error {
	at, m := "$.apt.mirrors."+name, d.Mirrors[name]
	if !destPattern.MatchString(name) {
		return spec.Errorf(at, "%q is not a name: want letters, digits, dots and dashes", name)
	}
	if m.Archive != Host {
		if u, err := url.Parse(m.Archive); err != nil || !slices.Contains([]string{"http", "https", "file"}, u.Scheme) {
			return spec.Errorf(at+".archive", "want a URL (http, https or file) or %q, not %q", Host, m.Archive)
		}
	}
	if !suitePattern.MatchString(m.Suite) || slices.Contains(strings.Split(m.Suite, "/"), "..") {
		return spec.Errorf(at+".suite", "%q is not the name of a suite, such as trixie", m.Suite)
	}
	if len(m.Components) == 0 {
		return spec.Errorf(at+".components", "want at least one component, such as main")
	}
	for i, c := range m.Components {
		if !destPattern.MatchString(c) {
			return spec.Errorf(fmt.Sprintf("%s.components[%d]", at, i), "%q is not the name of a component", c)
		}
	}
	if m.Keyring == "" || path.IsAbs(m.Keyring) || path.Clean(m.Keyring) != m.Keyring || strings.HasPrefix(m.Keyring, "../") {
		return &spec.Error{Path: at + ".keyring", Msg: fmt.Sprintf("%q is not a path below the recipes folder", m.Keyring),
			Hint: "name the file with the public keys that may sign this suite"}
	}
	for i, f := range m.Follow {
		if known := followOptions(); known[f] == 0 {
			return spec.Unknown(fmt.Sprintf("%s.follow[%d]", at, i), "relation", f, sortedKeys(known))
		}
	}
	if m.Filter != "" {
		if _, err := query.Parse(m.Filter); err != nil {
			return spec.Errorf(at+".filter", "%v", err)
		}
	}
	return d.validateUpdates(at, name)
}

// validateUpdates refuses chains as well as cycles: a family is one mirror and what updates it.
func (d *Definition) validateUpdates(at, name string) error {
	m := d.Mirrors[name]
	if m.Updates == "" {
		return nil
	}
	base, ok := d.Mirrors[m.Updates]
	switch {
	case m.Updates == name:
		return spec.Errorf(at+".updates", "mirror %s updates itself", name)
	case !ok:
		return spec.Unknown(at+".updates", "mirror", m.Updates, sortedKeys(d.Mirrors))
	case base.Updates == name:
		return spec.Errorf(at+".updates", "cycle: %s updates %s updates %s", name, m.Updates, name)
	case base.Updates != "":
		return &spec.Error{Path: at + ".updates", Msg: fmt.Sprintf("mirror %s itself updates %s", m.Updates, base.Updates),
			Hint: fmt.Sprintf("write updates: %s", d.root(name))}
	case m.Filter != "" || m.Dependencies || len(m.Follow) > 0:
		return &spec.Error{Path: at + ".updates", Msg: "a mirror that updates another has no filter, dependencies or follow of its own",
			Hint: "those of " + m.Updates + " count"}
	}
	return nil
}

// root follows updates from name to a mirror that updates none, or as far as a cycle lets it.
func (d *Definition) root(name string) string {
	for range d.Mirrors {
		next := d.Mirrors[name].Updates
		if next == "" {
			break
		}
		name = next
	}
	return name
}

func (d *Definition) validateNames(at string, names []string) error {
	if len(names) == 0 {
		return &spec.Error{Path: at, Msg: "want at least one mirror", Hint: spec.Suggest("", sortedKeys(d.Mirrors))}
	}
	for i, name := range names {
		at := fmt.Sprintf("%s[%d]", at, i)
		if _, ok := d.Mirrors[name]; !ok {
			return spec.Unknown(at, "mirror", name, sortedKeys(d.Mirrors))
		}
		if slices.Index(names, name) < i {
			return spec.Errorf(at, "mirror %s is listed twice", name)
		}
	}
	return nil
}

// families returns the mirrors that are filtered together: by the name of the one that has the
// filter, itself first, then what updates it, by name.
func (d *Definition) families() map[string][]string {
	f := make(map[string][]string)
	for _, name := range sortedKeys(d.Mirrors) {
		if base := d.Mirrors[name].Updates; base != "" {
			f[base] = append(f[base], name)
		} else {
			f[name] = slices.Insert(f[name], 0, name)
		}
	}
	return f
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
