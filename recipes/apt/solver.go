package apt

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/aptly-dev/aptly/deb"

	"github.com/rcbops/rpcbuild/recipes/spec"
)

// A solver picks packages by the rules of apt and dpkg. Nothing in it is left to chance: what is
// asked for by name comes first, then all dependencies that leave no choice, and only then, in
// order of their text, those that do, because what is there by then may satisfy them.
type solver struct {
	ix      *index
	there   map[string]*candidate  // by name: the base's and the chosen
	base    map[string]bool        // names of the base's packages that are not replaced
	because map[string]string      // why a package is there, for errors
	against map[string][]objection // by the name that it is against
	waiting []relation
}

// An objection is one Conflicts or Breaks of a package that was there at some time.
type objection struct {
	of  *candidate
	dep deb.Dependency
}

// A relation is one Depends or Pre-Depends of a package.
type relation struct {
	of       *candidate
	text     string
	variants []deb.Dependency
}

// newSolver returns a solver for the packages of an index that can be installed on arch.
func newSolver(packages, arch string) (*solver, error) {
	content, err := os.ReadFile(packages)
	if err != nil {
		return nil, err
	}
	list, err := parseIndex(string(content))
	if err != nil {
		return nil, err
	}
	list = slices.DeleteFunc(list, func(c candidate) bool { return !c.MatchesArchitecture(arch) })
	ix, err := newIndex(list)
	if err != nil {
		return nil, err
	}
	return &solver{
		ix: ix, there: make(map[string]*candidate),
		base: make(map[string]bool), because: make(map[string]string), against: make(map[string][]objection),
	}, nil
}

// install says which packages are there already. The repository must have them, too.
func (s *solver) install(base []Picked) error {
	for _, p := range base {
		i := slices.IndexFunc(s.ix.named[p.Name], func(c *candidate) bool {
			return c.Version == p.Version && c.Architecture == p.Arch
		})
		if i < 0 {
			return fmt.Errorf("base package %s_%s_%s: the repository does not have it", p.Name, p.Version, p.Arch)
		}
		s.put(s.ix.named[p.Name][i], "the base has it")
		s.base[p.Name] = true
	}
	return nil
}

// solve returns what must be added for q, by name.
func (s *solver) solve(q Query) ([]*candidate, error) {
	if q.Essential {
		if err := s.addEssential(); err != nil {
			return nil, err
		}
	}
	for _, name := range q.Packages {
		if err := s.addNamed(name); err != nil {
			return nil, err
		}
	}
	for len(s.waiting) > 0 {
		if err := s.satisfyNext(); err != nil {
			return nil, err
		}
	}
	if err := s.check(); err != nil {
		return nil, err
	}
	var added []*candidate
	for _, name := range sortedKeys(s.there) {
		if !s.base[name] {
			added = append(added, s.there[name])
		}
	}
	return added, nil
}

func (s *solver) addEssential() error {
	for _, name := range sortedKeys(s.ix.named) {
		c := s.ix.named[name][0]
		if s.there[name] == nil && (c.GetField("Essential") == "yes" || c.GetField("Priority") == "required") {
			if err := s.add(c, "it is essential or required"); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *solver) addNamed(name string) error {
	if s.there[name] != nil {
		return nil
	}
	if same := s.ix.named[name]; len(same) > 0 {
		return s.add(same[0], "it is asked for")
	}
	if providers := s.ix.providers[name]; len(providers) > 0 {
		var names []string
		for _, p := range providers {
			names = append(names, p.Name)
		}
		return fmt.Errorf("package %s: it is virtual (ask for one that provides it: %s)", name, strings.Join(slices.Compact(names), ", "))
	}
	return fmt.Errorf("package %s: the repository does not have it (%s)", name, s.suggest(name))
}

// suggest is a hint of the most similar name, if there is one: the list of all names is no help.
func (s *solver) suggest(name string) string {
	if hint := spec.Suggest(name, sortedKeys(s.ix.named)); strings.HasPrefix(hint, "did you mean") {
		return hint
	}
	return "a mirror's filter has to pick it"
}

// add makes c one of the chosen, and its relations wait to be satisfied.
func (s *solver) add(c *candidate, because string) error {
	if other := s.conflict(c); other != nil {
		return fmt.Errorf("package %s (%s): it cannot be together with %s (%s)",
			c.GetFullName(), because, other.GetFullName(), s.because[other.Name])
	}
	s.put(c, because)
	delete(s.base, c.Name)
	deps := c.full().Deps()
	for _, list := range [][]string{deps.PreDepends, deps.Depends} {
		for _, text := range list {
			variants, err := deb.ParseDependencyVariants(text)
			if err != nil {
				return fmt.Errorf("package %s: %w", c.GetFullName(), err)
			}
			s.waiting = append(s.waiting, relation{c, text, variants})
		}
	}
	return nil
}

// put makes c there.
func (s *solver) put(c *candidate, because string) {
	s.there[c.Name], s.because[c.Name] = c, because
	for _, dep := range c.conflicts() {
		s.against[dep.Pkg] = append(s.against[dep.Pkg], objection{c, dep})
	}
}

// satisfyNext drops the relations that are satisfied, and satisfies one of the others.
func (s *solver) satisfyNext() error {
	s.waiting = slices.DeleteFunc(s.waiting, func(r relation) bool {
		return slices.ContainsFunc(r.variants, s.satisfied)
	})
	if len(s.waiting) == 0 {
		return nil
	}
	next := slices.IndexFunc(s.waiting, func(r relation) bool {
		return len(r.variants) == 1 && len(s.ix.named[r.variants[0].Pkg]) > 0
	})
	if next < 0 {
		first := slices.MinFunc(s.waiting, func(a, b relation) int {
			return cmp.Or(strings.Compare(a.text, b.text), strings.Compare(a.of.Name, b.of.Name))
		})
		next = slices.IndexFunc(s.waiting, func(r relation) bool { return r.of == first.of && r.text == first.text })
	}
	return s.satisfy(s.waiting[next])
}

// satisfy adds the first possible variant of a relation: a package of that name in its highest
// version before one that provides it.
func (s *solver) satisfy(r relation) error {
	because := fmt.Sprintf("%s depends on %s", r.of.Name, r.text)
	var possible []*candidate
	for _, dep := range r.variants {
		for _, c := range s.ix.named[dep.Pkg] {
			if satisfies(c, dep) {
				possible = append(possible, c)
			}
		}
		providers := slices.Clone(s.ix.providers[dep.Pkg])
		slices.SortStableFunc(providers, func(a, b *candidate) int { return cmp.Compare(a.priority(), b.priority()) })
		for _, c := range providers {
			if satisfies(c, dep) {
				possible = append(possible, c)
			}
		}
	}
	for _, c := range possible {
		other := s.there[c.Name]
		if (other == nil || s.base[c.Name] && deb.CompareVersions(other.Version, c.Version) < 0) && s.conflict(c) == nil {
			return s.add(c, because)
		}
	}
	if len(possible) == 0 {
		return fmt.Errorf("package %s (%s): it depends on %s, which the repository does not have",
			r.of.GetFullName(), s.because[r.of.Name], r.text)
	}
	if s.there[possible[0].Name] == nil {
		return s.add(possible[0], because) // for the error of the conflict
	}
	other := s.there[possible[0].Name]
	return fmt.Errorf("package %s (%s): it depends on %s, and %s is picked already (%s)",
		r.of.GetFullName(), s.because[r.of.Name], r.text, other.GetFullName(), s.because[other.Name])
}

// check makes sure that what replaced a package of the base left nothing unsatisfied.
func (s *solver) check() error {
	for _, name := range sortedKeys(s.there) {
		deps := s.there[name].full().Deps()
		for _, text := range slices.Concat(deps.PreDepends, deps.Depends) {
			variants, err := deb.ParseDependencyVariants(text)
			if err != nil {
				return fmt.Errorf("package %s: %w", s.there[name].GetFullName(), err)
			}
			if !slices.ContainsFunc(variants, s.satisfied) {
				return fmt.Errorf("package %s (%s): it depends on %s, which what is picked breaks",
					s.there[name].GetFullName(), s.because[name], text)
			}
		}
	}
	return nil
}

func (s *solver) satisfied(dep deb.Dependency) bool { return s.find(dep, nil) != nil }

// find returns a package that is there, is not but, and satisfies dep.
func (s *solver) find(dep deb.Dependency, but *candidate) *candidate {
	if c := s.there[dep.Pkg]; c != nil && c != but && satisfies(c, dep) {
		return c
	}
	for _, c := range s.ix.providers[dep.Pkg] {
		if s.there[c.Name] == c && c != but && satisfies(c, dep) {
			return c
		}
	}
	return nil
}

// conflict returns a package that is there and that c cannot be together with.
func (s *solver) conflict(c *candidate) *candidate {
	for _, dep := range c.conflicts() {
		if other := s.find(dep, s.there[c.Name]); other != nil {
			return other
		}
	}
	for _, name := range append(c.ProvidedPackages(), c.Name) {
		for _, o := range s.against[name] {
			if o.of.Name != c.Name && s.there[o.of.Name] == o.of && satisfies(c, o.dep) {
				return o.of
			}
		}
	}
	return nil
}
