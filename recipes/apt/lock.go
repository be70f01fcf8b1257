package apt

import (
	"cmp"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/aptly-dev/aptly/deb"

	"github.com/rcbops/rpcbuild/store"
)

// A Lock is what upstreams answered: every package of every mirror, by content. It holds no URL.
type Lock struct {
	Mirrors map[string]*MirrorLock `json:"mirrors"`
}

// A MirrorLock is one mirror at one time. Its first fields repeat the definition, so that a lock
// that no longer fits its definition is noticed.
type MirrorLock struct {
	Suite         string   `json:"suite"`
	Components    []string `json:"components"`
	Architectures []string `json:"architectures"`
	Filter        string   `json:"filter,omitempty"`
	Dependencies  bool     `json:"dependencies,omitempty"`
	Follow        []string `json:"follow,omitempty"`
	Updates       string   `json:"updates,omitempty"`

	// InRelease is the SHA-256 of the signed index of indexes. While it is the same, nothing moved.
	InRelease string `json:"inrelease"`
	// Date is what the release file says of its own age.
	Date string `json:"date"`
	// SignedBy are the fingerprints of the keys with a good signature.
	SignedBy []string `json:"signed_by"`
	// Keyring is the armored keyring that it was verified with.
	Keyring string `json:"keyring"`
	// Packages are sorted by name, version and architecture.
	Packages []Package `json:"packages"`
}

// A Package is one .deb.
type Package struct {
	Name     string `json:"name"`
	Version  string `json:"version"`
	Arch     string `json:"arch"`
	Filename string `json:"filename"` // relative to the archive
	Size     int64  `json:"size"`
	SHA256   string `json:"sha256"`
}

// ID returns what names the package in a repository: name_version_arch.
func (p Package) ID() string { return p.Name + "_" + p.Version + "_" + p.Arch }

// Blob returns the content of the .deb.
func (p Package) Blob() (store.Blob, error) {
	b, err := store.ParseBlob(p.SHA256, p.Size)
	if err != nil {
		return b, fmt.Errorf("package %s: %w", p.ID(), err)
	}
	return b, nil
}

// Names from outside become names of nodes and files.
var (
	namePattern    = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9+.-]*$`)
	versionPattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9.+:~-]*$`)
)

// check refuses a package that could not be stored or published under its name.
func (p Package) check() error {
	switch {
	case !namePattern.MatchString(p.Name):
		return fmt.Errorf("package %q: not a name", p.Name)
	case !versionPattern.MatchString(p.Version):
		return fmt.Errorf("package %s: %q is not a version", p.Name, p.Version)
	case !wordPattern.MatchString(p.Arch):
		return fmt.Errorf("package %s: %q is not an architecture", p.Name, p.Arch)
	case !strings.HasSuffix(p.Filename, ".deb"), path.IsAbs(p.Filename), path.Clean("/"+p.Filename) != "/"+p.Filename:
		return fmt.Errorf("package %s: %q is not the path of a .deb", p.ID(), p.Filename)
	}
	_, err := p.Blob()
	return err
}

// comparePackages is the order of packages in a lock and in an index.
func comparePackages(a, b Package) int {
	return cmp.Or(strings.Compare(a.Name, b.Name), deb.CompareVersions(a.Version, b.Version),
		strings.Compare(a.Version, b.Version), strings.Compare(a.Arch, b.Arch), strings.Compare(a.SHA256, b.SHA256))
}

// newMirrorLock returns the lock of a mirror without what upstream says of it.
func (d *Definition) newMirrorLock(name string) *MirrorLock {
	m := d.Mirrors[name]
	return &MirrorLock{
		Suite: m.Suite, Components: m.Components, Architectures: d.Architectures,
		Filter: m.Filter, Dependencies: m.Dependencies, Follow: m.Follow, Updates: m.Updates,
	}
}

// difference returns what the definition of the mirror says that l was not made for, or "".
func (l *MirrorLock) difference(want *MirrorLock) string {
	for _, f := range []struct {
		name string
		same bool
	}{
		{"suite", l.Suite == want.Suite},
		{"components", slices.Equal(l.Components, want.Components)},
		{"architectures", slices.Equal(l.Architectures, want.Architectures)},
		{"filter", l.Filter == want.Filter},
		{"dependencies", l.Dependencies == want.Dependencies},
		{"follow", slices.Equal(l.Follow, want.Follow)},
		{"updates", l.Updates == want.Updates},
	} {
		if !f.same {
			return f.name
		}
	}
	return ""
}

// Check says whether the lock was made for the definition, and whether every package in it has a
// usable name and content.
func (l *Lock) Check(d *Definition) error {
	for _, name := range sortedKeys(d.Mirrors) {
		m := l.Mirrors[name]
		if m == nil {
			return fmt.Errorf("apt lock: it has no mirror %s (resolve the release again)", name)
		}
		if diff := m.difference(d.newMirrorLock(name)); diff != "" {
			return fmt.Errorf("apt lock: mirror %s: it was made for another %s than the definition's (resolve the release again)", name, diff)
		}
		for _, p := range m.Packages {
			if err := p.check(); err != nil {
				return fmt.Errorf("apt lock: mirror %s: %w", name, err)
			}
		}
	}
	for _, name := range sortedKeys(l.Mirrors) {
		if _, ok := d.Mirrors[name]; !ok {
			return fmt.Errorf("apt lock: the definition has no mirror %s (resolve the release again)", name)
		}
	}
	return nil
}
