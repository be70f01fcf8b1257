package apt

import (
	"slices"

	"github.com/aptly-dev/aptly/deb"
)

// satisfies follows dpkg where aptly does not: a provided name without a version satisfies no
// relation that asks for one. An architecture in a relation needs no look: all candidates are for
// one architecture.
func satisfies(c *candidate, dep deb.Dependency) bool {
	if c.Name == dep.Pkg {
		real := c.Package
		real.Provides = nil
		dep.Architecture = ""
		return real.MatchesDependency(dep)
	}
	for _, text := range c.Provides {
		p, err := deb.ParseDependency(text)
		if err != nil || p.Pkg != dep.Pkg {
			continue
		}
		if dep.Relation == deb.VersionDontCare {
			return true
		}
		provided := deb.Package{Name: p.Pkg, Version: p.Version}
		if p.Relation == deb.VersionEqual && provided.MatchesDependency(deb.Dependency{Pkg: dep.Pkg, Relation: dep.Relation, Version: dep.Version}) {
			return true
		}
	}
	return false
}

// conflicts returns what c cannot be together with. A relation that cannot be parsed is dpkg's to
// refuse.
func (c *candidate) conflicts() []deb.Dependency {
	var deps []deb.Dependency
	for _, field := range []string{"Conflicts", "Breaks"} {
		for _, text := range splitList(c.full().GetField(field)) {
			if dep, err := deb.ParseDependency(text); err == nil {
				deps = append(deps, dep)
			}
		}
	}
	return deps
}

// priority orders providers of one name: required first.
func (c *candidate) priority() int {
	order := []string{"required", "important", "standard", "optional"}
	if i := slices.Index(order, c.GetField("Priority")); i >= 0 {
		return i
	}
	return len(order)
}
