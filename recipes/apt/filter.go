package apt

import (
	"fmt"

	"github.com/aptly-dev/aptly/deb"
	"github.com/aptly-dev/aptly/query"
)

// A selection is what a mirror's filter picks from the index of its family.
type selection struct {
	ix      *index
	arches  []string
	options int // aptly's, of which relations to follow
	chosen  map[*candidate]bool
	list    *deb.PackageList // the same, as aptly's resolver wants it; only with dependencies
}

// filter evaluates a mirror's filter. With everyVersion, all versions of each name that it picks
// are picked.
func (ix *index) filter(m Mirror, arches []string, everyVersion bool) (map[*candidate]bool, error) {
	s := &selection{ix: ix, arches: arches, chosen: make(map[*candidate]bool)}
	for _, f := range m.Follow {
		s.options |= followOptions()[f]
	}
	if m.Dependencies && m.Filter != "" {
		s.list = deb.NewPackageList()
		s.list.PrepareIndex()
	}
	if err := s.match(m.Filter); err != nil {
		return nil, err
	}
	for before := -1; before < len(s.chosen); {
		before = len(s.chosen)
		if s.list != nil {
			if err := s.addDependencies(); err != nil {
				return nil, err
			}
		}
		if everyVersion {
			s.addVersions()
		}
	}
	return s.chosen, nil
}

func (s *selection) match(filter string) error {
	var q deb.PackageQuery = &deb.MatchAllQuery{}
	if filter != "" {
		var err error
		if q, err = query.Parse(filter); err != nil {
			return fmt.Errorf("filter: %w", err)
		}
	}
	for _, c := range s.ix.all {
		if q.Matches(c) {
			s.add(c)
		}
	}
	return nil
}

func (s *selection) add(c *candidate) {
	if s.chosen[c] {
		return
	}
	s.chosen[c] = true
	if s.list != nil {
		// The only error is of two packages with one name, version and architecture: newIndex
		// keeps one. Packages come in the list's order, so that inserting is appending.
		_ = s.list.Add(c.full())
	}
}

// addDependencies is the loop of aptly's PackageList.Filter. That one copies its lists through
// maps, and so picks one of several providers by chance; and it needs every package parsed.
func (s *selection) addDependencies() error {
	for {
		before := len(s.chosen)
		missing, err := s.list.VerifyDependencies(s.options, s.arches, s.list, nil)
		if err != nil {
			return fmt.Errorf("dependencies: %w", err)
		}
		for _, dep := range missing {
			if s.list.Search(dep, false, true) == nil {
				s.satisfy(dep)
			}
		}
		if len(s.chosen) == before {
			return nil
		}
	}
}

// satisfy adds the first package that satisfies dep and is not there yet.
func (s *selection) satisfy(dep deb.Dependency) {
	for _, c := range s.ix.search(dep) {
		if !s.chosen[c] {
			s.add(c)
			return
		}
	}
}

// addVersions adds the other versions of what is chosen.
func (s *selection) addVersions() {
	for _, c := range s.ix.all {
		if !s.chosen[c] && s.chosenName(c.Name) {
			s.add(c)
		}
	}
}

func (s *selection) chosenName(name string) bool {
	for _, c := range s.ix.named[name] {
		if s.chosen[c] {
			return true
		}
	}
	return false
}
