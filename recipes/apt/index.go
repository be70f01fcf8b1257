package apt

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/aptly-dev/aptly/deb"
)

// A candidate is a package of an index. Of its entry only what names it is read at first: a full
// index of Debian has 70,000 packages, and most are never looked at again.
//
// It answers a query as aptly's own package does, because wherever it can not take a field as it
// is from the entry, it asks that one.
type candidate struct {
	deb.Package        // no more than Name, Version, Architecture, Source and Provides
	raw         string // the entry
	mirror      string // where it is from

	parsed *deb.Package
}

// full returns aptly's package of the whole entry.
func (c *candidate) full() *deb.Package {
	if c.parsed == nil {
		stanza, err := deb.NewControlFileReader(strings.NewReader(c.raw), false, false).ReadStanza()
		if err != nil { // only a line beyond aptly's limit: parseIndex read all others
			stanza = deb.Stanza{"Package": c.Name, "Version": c.Version, "Architecture": c.Architecture}
		}
		c.parsed = deb.NewPackageFromControlFile(stanza)
	}
	return c.parsed
}

// GetField returns a field as a query knows it.
func (c *candidate) GetField(name string) string {
	switch name {
	case "$Source", "$SourceVersion", "$Architecture", "$PackageType", "Name", "Version", "Architecture", "Source", "Provides":
		return c.Package.GetField(name)
	}
	value, lines := c.field(name)
	if lines == 0 {
		return ""
	}
	switch name {
	case "Essential", "Important", "Multi-Arch", "Priority", "Protected", "Section", "Task":
		if lines == 1 {
			return value
		}
	}
	return c.full().GetField(name)
}

// field returns the first line of a field of the entry, and whether it has none, one, or more.
func (c *candidate) field(name string) (value string, lines int) {
	eachField(c.raw, func(field, v string, more bool) {
		if !strings.EqualFold(field, name) {
			return
		}
		value, lines = v, 1
		if more {
			lines = 2
		}
	})
	return value, lines
}

// filename is where the package lies, relative to its archive.
func (c *candidate) filename() string {
	f, _ := c.field("Filename")
	return f
}

// lock returns what a lock holds of the package.
func (c *candidate) lock() (Package, error) {
	size, _ := c.field("Size")
	sum, _ := c.field("SHA256")
	p := Package{ // clones, for the lock is not to keep the whole index in memory
		Name: strings.Clone(c.Name), Version: strings.Clone(c.Version), Arch: strings.Clone(c.Architecture),
		Filename: strings.Clone(strings.TrimPrefix(c.filename(), "./")), SHA256: strings.Clone(sum),
	}
	var err error
	if p.Size, err = strconv.ParseInt(size, 10, 64); err != nil {
		return p, fmt.Errorf("package %s: %q is not a size", p.ID(), size)
	}
	return p, p.check()
}

// eachField calls fn for every field of an entry, with its first line. More says that others follow.
// It returns the first line that is no field, or "".
func eachField(raw string, fn func(field, value string, more bool)) (bad string) {
	for raw != "" {
		line, rest, _ := strings.Cut(raw, "\n")
		raw = rest
		if line == "" || line[0] == ' ' || line[0] == '\t' {
			continue
		}
		field, value, ok := strings.Cut(line, ":")
		if !ok {
			return line
		}
		fn(field, strings.TrimSpace(value), rest != "" && (rest[0] == ' ' || rest[0] == '\t'))
	}
	return ""
}

// parseIndex splits a Packages file into candidates.
func parseIndex(content string) ([]candidate, error) {
	content = strings.ReplaceAll(content, "\r\n", "\n") // as aptly's reader does
	list := make([]candidate, 0, len(content)/900)
	for content != "" {
		raw, rest, _ := strings.Cut(content, "\n\n")
		content = rest
		if strings.Trim(raw, "\n") == "" {
			continue
		}
		c := candidate{raw: raw}
		if err := c.parse(); err != nil {
			return nil, err
		}
		list = append(list, c)
	}
	return list, nil
}

func (c *candidate) parse() error {
	folded := false
	bad := eachField(c.raw, func(field, value string, more bool) {
		switch {
		case strings.EqualFold(field, "Package"):
			c.Name = value
		case strings.EqualFold(field, "Version"):
			c.Version = value
		case strings.EqualFold(field, "Architecture"):
			c.Architecture = value
		case strings.EqualFold(field, "Source"):
			c.Source = value
		case strings.EqualFold(field, "Provides"):
			c.Provides = splitList(value)
		default:
			return
		}
		folded = folded || more
	})
	if bad != "" {
		return fmt.Errorf("index: %q is not a line of an entry", bad)
	}
	if folded {
		p := c.full()
		c.Name, c.Version, c.Architecture, c.Source, c.Provides = p.Name, p.Version, p.Architecture, p.Source, p.Provides
	}
	if c.Name == "" || c.Version == "" || c.Architecture == "" {
		return fmt.Errorf("index: an entry of package %q lacks its name, version or architecture", c.Name)
	}
	return nil
}

// splitList splits a list of relations as aptly does.
func splitList(value string) []string {
	if value == "" {
		return nil
	}
	list := strings.Split(value, ",")
	for i := range list {
		list[i] = strings.TrimSpace(list[i])
	}
	return list
}

// An index finds candidates. Its order is fixed, where aptly's own lists iterate over maps: which
// of several providers is taken must not be a matter of chance.
type index struct {
	all       []*candidate            // by name, the highest version first, by architecture
	named     map[string][]*candidate // in the same order
	providers map[string][]*candidate // of what a package provides beside itself
}

// newIndex returns the index of the candidates of all lists. Of two that have the same name,
// version and architecture the first counts, as in aptly; they may differ only within one mirror.
func newIndex(lists ...[]candidate) (*index, error) {
	n := 0
	for _, l := range lists {
		n += len(l)
	}
	ix := &index{
		all:   make([]*candidate, 0, n),
		named: make(map[string][]*candidate, n), providers: make(map[string][]*candidate),
	}
	for _, list := range lists {
		for i := range list {
			if err := ix.add(&list[i]); err != nil {
				return nil, err
			}
		}
	}
	slices.SortFunc(ix.all, compareCandidates)
	for _, same := range ix.named {
		slices.SortFunc(same, compareCandidates)
	}
	for _, c := range ix.all {
		for _, name := range c.ProvidedPackages() {
			if same := ix.providers[name]; len(same) == 0 || same[len(same)-1] != c {
				ix.providers[name] = append(same, c)
			}
		}
	}
	return ix, nil
}

func (ix *index) add(c *candidate) error {
	for _, other := range ix.named[c.Name] {
		if other.Version != c.Version || other.Architecture != c.Architecture {
			continue
		}
		a, _ := other.field("SHA256")
		if b, _ := c.field("SHA256"); a != b && other.mirror != c.mirror {
			return fmt.Errorf("package %s: mirrors %s and %s have it with different content: %s and %s",
				c.GetFullName(), other.mirror, c.mirror, a, b)
		}
		return nil
	}
	ix.all = append(ix.all, c)
	ix.named[c.Name] = append(ix.named[c.Name], c)
	return nil
}

func compareCandidates(a, b *candidate) int {
	if c := strings.Compare(a.Name, b.Name); c != 0 {
		return c
	}
	if c := deb.CompareVersions(b.Version, a.Version); c != 0 {
		return c
	}
	if c := strings.Compare(a.Architecture, b.Architecture); c != 0 {
		return c
	}
	return strings.Compare(a.Version, b.Version)
}

// search returns what satisfies a dependency, in the order in which aptly takes them: by name
// before by provision.
func (ix *index) search(dep deb.Dependency) []*candidate {
	var found []*candidate
	for _, list := range [][]*candidate{ix.named[dep.Pkg], ix.providers[dep.Pkg]} {
		for _, c := range list {
			if c.MatchesDependency(dep) {
				found = append(found, c)
			}
		}
	}
	return found
}
