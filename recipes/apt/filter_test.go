package apt

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/aptly-dev/aptly/deb"
	"github.com/aptly-dev/aptly/query"
	"github.com/google/go-cmp/cmp"
)

// entryText is an entry of a Packages file.
func entryText(name, version string, fields ...string) string {
	fields = append(fields, fmt.Sprintf("Filename: pool/%s.deb\nSize: 1\nSHA256: %064d\n\n", name, 0))
	return fmt.Sprintf("Package: %s\nVersion: %s\nArchitecture: amd64\n", name, version) + strings.Join(fields, "\n")
}

// small is an index with what makes filters differ: alternatives, virtual packages, versions,
// folded fields.
var small = entryText("app", "1:2.0-1", "Priority: optional", "Depends: lib (>= 2), mta | mail-agent", "Suggests: doc") +
	entryText("lib", "1", "Source: libsrc (0.9)") + entryText("lib", "2", "Source: libsrc (1.9)", "Depends: helper\n (>= 1),\n awk") +
	entryText("helper", "1", "Essential: yes", "Priority: required") +
	entryText("mawk", "1", "Provides: awk", "Priority: required") + entryText("gawk", "1", "Provides: awk, gnu-awk (= 5)") +
	entryText("exim", "4", "Provides: mail-agent", "Section: mail") + entryText("postfix", "3", "Provides: mail-agent", "section: mail") +
	entryText("doc", "1", "Recommends: viewer", "Tag: a,\n b") + entryText("viewer", "1") + entryText("broken", "1", "Depends: nothing-has-this")

var filters = []struct {
	filter  string
	options int
	deps    bool
}{
	{"", 0, false},
	{"app", 0, true},
	{"app", deb.DepFollowSuggests, true},
	{"app", deb.DepFollowSuggests | deb.DepFollowRecommends, true},
	{"app (<< 2)", 0, true},
	{"awk", 0, false},
	{"gnu-awk (>= 5) | gnu-awk (<< 4)", 0, false},
	{"Name (~ ^l.*b$)", 0, true},
	{"Name (% *aw?)", 0, true},
	{"Priority (required) | Essential (yes)", 0, true},
	{"$Essential (yes)", 0, true},
	{"$Source (libsrc), $SourceVersion (1.9)", 0, true},
	{"$Version (>= 2), !Section (mail)", 0, true},
	{"Section (mail)", 0, true},
	{"section (mail)", 0, true},
	{"Tag (~ b)", 0, false},
	{"Tag", 0, false},
	{"Depends (~ helper)", 0, false},
	{"lib_2_amd64", 0, true},
	{"Filename (~ pool)", 0, false},
	{"broken", 0, true},
	{"Priority (required) | Name (= memcached) | Name (= build-essential) | Name (= python3-dev)", 0, true},
	{"python3-keystone | $Source (nova)", deb.DepFollowSuggests, true},
}

// TestFilter holds what candidates and the selection do against aptly's own evaluation of the
// whole list, with the generated index and, where the machine has one, with a real one.
func TestFilter(t *testing.T) {
	t.Run("generated", func(t *testing.T) { compareFilters(t, small) })
	t.Run("host", func(t *testing.T) {
		if testing.Short() {
			t.Skip("long")
		}
		compareFilters(t, hostIndex(t))
	})
}

// hostIndex returns the largest index that this machine's apt has.
func hostIndex(t *testing.T) string {
	const helper = "/usr/lib/apt/apt-helper"
	names, err := filepath.Glob("/var/lib/apt/lists/*_main_binary-amd64_Packages*")
	if err != nil || len(names) == 0 {
		t.Skip("apt has no index of main: apt-get update makes one")
	}
	var largest []byte
	for _, name := range names {
		content, err := exec.Command(helper, "cat-file", name).Output()
		if err != nil {
			t.Skipf("%s: %v", helper, err)
		}
		if len(content) > len(largest) {
			largest = content
		}
	}
	return string(largest)
}

func compareFilters(t *testing.T, content string) {
	list, err := parseIndex(content)
	if err != nil {
		t.Fatal(err)
	}
	ix, err := newIndex(list)
	if err != nil {
		t.Fatal(err)
	}
	whole := aptlyList(t, content, ix)
	for _, test := range filters {
		t.Run(fmt.Sprintf("%s %d %v", test.filter, test.options, test.deps), func(t *testing.T) {
			m := Mirror{Filter: test.filter, Dependencies: test.deps}
			for name, option := range followOptions() {
				if test.options&option != 0 {
					m.Follow = append(m.Follow, name)
				}
			}
			chosen, err := ix.filter(m, []string{"amd64"}, false)
			if err != nil {
				t.Fatal(err)
			}
			got := []string{}
			for c := range chosen {
				got = append(got, c.GetFullName())
			}
			var q deb.PackageQuery = &deb.MatchAllQuery{}
			if test.filter != "" {
				if q, err = query.Parse(test.filter); err != nil {
					t.Fatal(err)
				}
			}
			result, err := whole.Filter(deb.FilterOptions{
				Queries: []deb.PackageQuery{q}, WithDependencies: test.deps && test.filter != "",
				DependencyOptions: test.options, Architectures: []string{"amd64"},
			})
			if err != nil {
				t.Fatal(err)
			}
			want := result.FullNames()
			slices.Sort(got)
			slices.Sort(want)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("aptly's - ours +:\n%s", diff)
			}
		})
	}
}

// aptlyList returns the index as aptly's list. The packages are added in our order, because the
// order decides which of several providers is taken.
func aptlyList(t *testing.T, content string, ix *index) *deb.PackageList {
	parsed := make(map[string]*deb.Package)
	r := deb.NewControlFileReader(strings.NewReader(content), false, false)
	for {
		s, err := r.ReadStanza()
		if err != nil {
			t.Fatal(err)
		}
		if s == nil {
			break
		}
		p := deb.NewPackageFromControlFile(s)
		parsed[p.GetFullName()] = p
	}
	list := deb.NewPackageList()
	list.PrepareIndex()
	for _, c := range ix.all {
		if err := list.Add(parsed[c.GetFullName()]); err != nil {
			t.Fatal(err)
		}
	}
	if len(parsed) != list.Len() {
		t.Fatalf("aptly reads %d packages, we read %d", len(parsed), list.Len())
	}
	return list
}

func TestIndexOrder(t *testing.T) {
	list, err := parseIndex(entryText("b", "1") + entryText("a", "1") + "\n\n" + entryText("a", "1:0") + entryText("a", "1"))
	if err != nil {
		t.Fatal(err)
	}
	ix, err := newIndex(list)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range ix.all {
		got = append(got, c.GetFullName())
	}
	if want := []string{"a_1:0_amd64", "a_1_amd64", "b_1_amd64"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestIndexErrors(t *testing.T) {
	for content, want := range map[string]string{
		"Package: a\nwhat is this\n\n":           "not a line of an entry",
		"Package: a\nVersion: 1\n\n":             "lacks its name, version or architecture",
		entryText("a", "1") + "Description: x\n": "lacks its name",
	} {
		if _, err := parseIndex(content); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %s", content, err, want)
		}
	}
}

func TestLockedPackage(t *testing.T) {
	good := Package{Name: "a", Version: "1:1.0~x+b-1", Arch: "amd64", Filename: "pool/a.deb", Size: 1, SHA256: strings.Repeat("0", 64)}
	if err := good.check(); err != nil {
		t.Fatal(err)
	}
	for _, change := range []func(*Package){
		func(p *Package) { p.Name = "../a" },
		func(p *Package) { p.Name = "a_b" },
		func(p *Package) { p.Version = "1/2" },
		func(p *Package) { p.Arch = "../x" },
		func(p *Package) { p.Filename = "../x.deb" },
		func(p *Package) { p.Filename = "/x.deb" },
		func(p *Package) { p.Filename = "x.exe" },
		func(p *Package) { p.SHA256 = "00" },
		func(p *Package) { p.Size = -1 },
	} {
		p := good
		change(&p)
		if p.check() == nil {
			t.Errorf("%+v is accepted", p)
		}
	}
}

func FuzzIndex(f *testing.F) {
	f.Add(small)
	f.Add("Package: a\n\tb\nProvides:\n c (= 1), d (")
	f.Fuzz(func(t *testing.T, content string) {
		list, err := parseIndex(content)
		if err != nil {
			return
		}
		ix, err := newIndex(list)
		if err != nil {
			return
		}
		for _, c := range ix.all {
			if p := c.full(); p.Name != c.Name || p.Version != c.Version || p.Architecture != c.Architecture || !slices.Equal(p.Provides, c.Provides) {
				t.Fatalf("%q: aptly reads %v, we read %v", c.raw, p, c)
			}
			_, _ = c.lock()
		}
	})
}
