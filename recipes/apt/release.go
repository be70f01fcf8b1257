package apt

import (
	"bytes"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/aptly-dev/aptly/deb"

	"github.com/rcbops/rpcbuild/store"
)

// A release is the index of a suite's indexes, verified.
type release struct {
	date          string
	architectures []string
	components    []string
	separateAll   bool // packages for all architectures have an index of their own
	byHash        bool
	files         map[string]store.Blob // by path, relative to the suite
}

func parseRelease(text []byte) (*release, error) {
	s, err := deb.NewControlFileReader(bytes.NewReader(text), true, false).ReadStanza()
	if err != nil {
		return nil, fmt.Errorf("release file: %w", err)
	}
	if s["SHA256"] == "" {
		return nil, fmt.Errorf("release file: it has no SHA256 of the indexes; weaker sums are not accepted")
	}
	r := &release{
		date:          s["Date"],
		architectures: strings.Fields(s["Architectures"]),
		components:    strings.Fields(s["Components"]),
		byHash:        s["Acquire-By-Hash"] == "yes",
		files:         make(map[string]store.Blob),
	}
	r.separateAll = slices.Contains(r.architectures, deb.ArchitectureAll) &&
		!slices.Contains(strings.Fields(s["No-Support-For-Architecture-All"]), "Packages")
	for line := range strings.Lines(s["SHA256"]) {
		var sum, name string
		var size int64
		if _, err := fmt.Sscan(line, &sum, &size, &name); err != nil {
			if strings.TrimSpace(line) == "" {
				continue
			}
			return nil, fmt.Errorf("release file: line %q: %w", strings.TrimSpace(line), err)
		}
		if r.files[name], err = store.ParseBlob(sum, size); err != nil {
			return nil, fmt.Errorf("release file: %s: %w", name, err)
		}
	}
	return r, nil
}

// An indexFile is a Packages file to read.
type indexFile struct {
	name string // relative to the suite
	blob store.Blob
}

// indexes returns the Packages files of a mirror, each in the form that is read soonest. That is
// gzip: Debian's main index takes 0.2 s to unpack, its xz form 1.3 s and is 3.7 MB smaller, which
// pays only below 3 MB/s.
func (r *release) indexes(components, arches []string) ([]indexFile, error) {
	arches = slices.Clone(arches)
	if r.separateAll {
		arches = append(arches, deb.ArchitectureAll)
	}
	var list []indexFile
	for _, component := range components {
		for _, arch := range arches {
			f, ok := r.index(path.Join(component, "binary-"+arch, "Packages"))
			if !ok {
				return nil, fmt.Errorf("the suite has no index of component %s for %s (it has components %s, architectures %s)",
					component, arch, strings.Join(r.components, " "), strings.Join(r.architectures, " "))
			}
			list = append(list, f)
		}
	}
	return list, nil
}

func (r *release) index(name string) (indexFile, bool) {
	for _, suffix := range []string{".gz", ".xz", ""} {
		if b, ok := r.files[name+suffix]; ok {
			return indexFile{name + suffix, b}, true
		}
	}
	return indexFile{}, false
}
