package apt

import (
	"errors"
	"strings"
	"testing"

	"github.com/rcbops/rpcbuild/recipes/spec"
)

func goodDefinition() *Definition {
	m := Mirror{Archive: Host, Suite: "trixie", Components: []string{"main"}, Keyring: "keyrings/debian.asc"}
	base, updates := m, m
	base.Filter, base.Dependencies = "Priority (required)", true
	updates.Suite, updates.Updates = "trixie-updates", "trixie"
	return &Definition{
		Architectures: []string{"amd64"},
		Mirrors:       map[string]Mirror{"trixie": base, "updates": updates},
		Integrated:    []string{"trixie", "updates"},
		Independent:   map[string][]string{"extra": {"updates"}},
	}
}

func TestValidate(t *testing.T) {
	if err := goodDefinition().Validate(); err != nil {
		t.Fatal(err)
	}
	mirror := func(name string, change func(*Mirror)) func(*Definition) {
		return func(d *Definition) {
			m := d.Mirrors[name]
			change(&m)
			d.Mirrors[name] = m
		}
	}
	for _, test := range []struct {
		name   string
		change func(*Definition)
		path   string
		want   string
	}{
		{"no architecture", func(d *Definition) { d.Architectures = nil }, "$.apt.architectures", "at least one"},
		{"all", func(d *Definition) { d.Architectures = []string{"all"} }, "$.apt.architectures[0]", "not an architecture"},
		{"twice", func(d *Definition) { d.Architectures = []string{"amd64", "amd64"} }, "$.apt.architectures[1]", "twice"},
		{"unknown mirror", func(d *Definition) { d.Integrated[1] = "update" }, "$.apt.integrated[1]", `did you mean "updates"?`},
		{"mirror twice", func(d *Definition) { d.Integrated[1] = "trixie" }, "$.apt.integrated[1]", "twice"},
		{"unknown independent", func(d *Definition) { d.Independent["extra"] = []string{"trixy"} }, "$.apt.independent.extra[0]", `did you mean "trixie"?`},
		{"bad dest", func(d *Definition) { d.Independent["../x"] = []string{"trixie"} }, "$.apt.independent.../x", "folder"},
		{"empty independent", func(d *Definition) { d.Independent["extra"] = nil }, "$.apt.independent.extra", "at least one mirror"},
		{"archive", mirror("trixie", func(m *Mirror) { m.Archive = "ftp://x" }), "$.apt.mirrors.trixie.archive", "want a URL"},
		{"suite", mirror("trixie", func(m *Mirror) { m.Suite = "../x" }), "$.apt.mirrors.trixie.suite", "not the name of a suite"},
		{"component", mirror("trixie", func(m *Mirror) { m.Components = nil }), "$.apt.mirrors.trixie.components", "at least one"},
		{"keyring", mirror("trixie", func(m *Mirror) { m.Keyring = "" }), "$.apt.mirrors.trixie.keyring", "public keys"},
		{"keyring outside", mirror("trixie", func(m *Mirror) { m.Keyring = "../k" }), "$.apt.mirrors.trixie.keyring", "below the recipes folder"},
		{"filter", mirror("trixie", func(m *Mirror) { m.Filter = "Name (= x" }), "$.apt.mirrors.trixie.filter", "')'"},
		{"follow", mirror("trixie", func(m *Mirror) { m.Follow = []string{"Sugests"} }), "$.apt.mirrors.trixie.follow[0]", `did you mean "Suggests"?`},
		{"updates unknown", mirror("updates", func(m *Mirror) { m.Updates = "trixi" }), "$.apt.mirrors.updates.updates", `did you mean "trixie"?`},
		{"updates itself", mirror("updates", func(m *Mirror) { m.Updates = "updates" }), "$.apt.mirrors.updates.updates", "itself"},
		{"updates and filter", mirror("updates", func(m *Mirror) { m.Filter = "x" }), "$.apt.mirrors.updates.updates", "no filter"},
		{"cycle", mirror("trixie", func(m *Mirror) { m.Updates = "updates" }), "$.apt.mirrors.trixie.updates", "cycle: trixie updates updates updates trixie"},
		{"chain", func(d *Definition) {
			m := d.Mirrors["updates"]
			m.Updates = "updates"
			d.Mirrors["more"] = m
		}, "$.apt.mirrors.more.updates", "write updates: trixie"},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := goodDefinition()
			test.change(d)
			err := d.Validate()
			var e *spec.Error
			if !errors.As(err, &e) {
				t.Fatalf("got %v, want a *spec.Error", err)
			}
			if e.Path != test.path || !strings.Contains(e.Error(), test.want) {
				t.Errorf("got %v, want %s: …%s…", e, test.path, test.want)
			}
		})
	}
}
