package apt

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/aptly-dev/aptly/deb"

	"github.com/rcbops/rpcbuild/store"
)

// A release is the index of a suite's indexes, verified.
type release struct {
	date          string
	architectures []string
	components    []string
	noSeparateAll bool // packages for all architectures are in the index of each, too
	byHash        bool
	files         map[string]store.Blob // by path, relative to the suite
}

// parseRelease reads a release file. It does so itself, because aptly's reader copies a field once
// for each of its lines: with Debian's 3,000 sums that is most of the time that an unchanged mirror
// takes.
func parseRelease(text []byte) (*release, error) {
	r := &release{files: make(map[string]store.Blob)}
	var field string
	for line := range strings.Lines(string(text)) {
		line = strings.TrimRight(line, "\r\n")
		switch {
		case line == "":
		case line[0] != ' ':
			var value string
			var ok bool
			if field, value, ok = strings.Cut(line, ":"); !ok {
				return nil, fmt.Errorf("release file: line %q is no field", line)
			}
			r.set(field, value)
		case field == "SHA256":
			if err := r.addFile(line); err != nil {
				return nil, fmt.Errorf("release file: line %q: %w", line, err)
			}
		}
	}
	if len(r.files) == 0 {
		return nil, errors.New("release file: it has no SHA256 of the indexes; weaker sums are not accepted")
	}
	return r, nil
}

func (r *release) set(field, value string) {
	words := strings.Fields(value)
	switch field {
	case "Date":
		r.date = strings.TrimSpace(value)
	case "Architectures":
		r.architectures = words
	case "Components":
		r.components = words
	case "Acquire-By-Hash":
		r.byHash = slices.Equal(words, []string{"yes"})
	case "No-Support-for-Architecture-all":
		r.noSeparateAll = slices.Contains(words, "Packages")
	}
}

// addFile reads a line of sums: SHA-256, size, name.
func (r *release) addFile(line string) error {
	words := strings.Fields(line)
	if len(words) != 3 {
		return errors.New("want a sum, a size and a name")
	}
	size, err := strconv.ParseInt(words[1], 10, 64)
	if err != nil {
		return fmt.Errorf("%q is not a size", words[1])
	}
	r.files[words[2]], err = store.ParseBlob(words[0], size)
	return err
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
	if slices.Contains(r.architectures, deb.ArchitectureAll) && !r.noSeparateAll {
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
