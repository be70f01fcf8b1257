package spec

import "testing"

func TestNames(t *testing.T) {
	for _, c := range []struct {
		d    Distribution
		want string
	}{
		{Distribution{"debian", "13", "trixie", "amd64"}, "debian-13-x86_64"},
		{Distribution{"debian", "13", "trixie", "arm64"}, "debian-13-aarch64"},
		{Distribution{"ubuntu", "16.04", "xenial", "i386"}, "ubuntu-16.04-i386"},
	} {
		if got := c.d.Platform(); got != c.want {
			t.Errorf("got %s, want %s", got, c.want)
		}
	}
}

func TestSuggest(t *testing.T) {
	for _, c := range []struct {
		name  string
		known []string
		want  string
	}{
		{"debain", []string{"debian", "debian-updates"}, `did you mean "debian"?`},
		{"keystne", []string{"glance", "keystone"}, `did you mean "keystone"?`},
		{"nova", []string{"glance", "keystone"}, "known: glance, keystone"},
		{"nova", nil, "none is defined"},
		{"", []string{"a", "b"}, "known: a, b"},
	} {
		if got := Suggest(c.name, c.known); got != c.want {
			t.Errorf("Suggest(%q, %q) = %q, want %q", c.name, c.known, got, c.want)
		}
	}
}

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"a", "", 1}, {"", "ab", 2}, {"kitten", "sitting", 3}, {"abc", "abc", 0}, {"ab", "ba", 1}, {"abcd", "badc", 2}, {"ulr", "url", 1}} {
		if got := distance(c.a, c.b); got != c.want {
			t.Errorf("distance(%q, %q) = %d, want %d", c.a, c.b, got, c.want)
		}
	}
}

func TestError(t *testing.T) {
	err := Unknown("$.apt.integrated[0]", "mirror", "debain", []string{"debian"})
	if want := `$.apt.integrated[0]: unknown mirror "debain" (did you mean "debian"?)`; err.Error() != want {
		t.Errorf("got %s", err)
	}
	if got := Errorf("$.url", "no %s", "url").Error(); got != "$.url: no url" {
		t.Errorf("got %s", got)
	}
}
