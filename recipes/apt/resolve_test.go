package apt

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rcbops/rpcbuild/recipes/apt/apttest"
)

// catalog is a repository for the solver: what each package is there for is in its name.
var catalog = []apttest.Deb{
	debOf("base", "1", "Essential", "yes", "Depends", "lib"),
	debOf("req", "1", "Priority", "required", "Pre-Depends", "awk"),
	debOf("mawk", "1", "Provides", "awk", "Priority", "required"),
	debOf("gawk", "1", "Provides", "awk"),
	debOf("lib", "1"), debOf("lib", "2~rc"), debOf("lib", "2"),
	debOf("oldlib", "1", "Depends", "lib (<< 2)"), debOf("newlib", "1", "Depends", "lib (>= 2)"),
	debOf("both", "1", "Depends", "lib, oldlib"),
	debOf("first", "1", "Depends", "nothing | lib | gawk"),
	debOf("virtual", "1", "Depends", "awk"),
	debOf("satisfied", "1", "Depends", "awk, gawk"),
	debOf("agent", "1", "Provides", "mail (= 3)"), debOf("agent2", "1", "Provides", "mail", "Priority", "standard"),
	debOf("mail-any", "1", "Depends", "mail"),
	debOf("mail-3", "1", "Depends", "mail (>= 3)"),
	debOf("mail-4", "1", "Depends", "mail (>= 4)"),
	debOf("enemy", "1", "Conflicts", "lib (>= 2)"),
	debOf("breaker", "1", "Breaks", "lib (<< 2)"),
	debOf("self", "1", "Provides", "only-one", "Conflicts", "only-one"),
	debOf("self2", "1", "Provides", "only-one", "Conflicts", "only-one"),
	debOf("avoids", "1", "Depends", "enemy | gawk"),
	debOf("any", "1", "Depends", "lib:any (>= 1)"),
	debOf("loop", "1", "Depends", "pool"), debOf("pool", "1", "Depends", "loop", "Recommends", "gawk", "Suggests", "mawk"),
}

// snapshot builds the repository of the catalog.
func snapshot(t *testing.T) (nodes *Nodes, inputs string) {
	w := newWorld(t)
	m := w.def.Mirrors["stable"]
	m.Filter, m.Dependencies = "", false
	w.def.Mirrors = map[string]Mirror{"stable": m}
	w.def.Integrated, w.def.Independent = []string{"stable"}, nil
	w.write("stable", catalog...)
	nodes, debs := w.resolved()
	repo, err := build(t, nodes.Integrated, debs)
	w.check(err)
	inputs = t.TempDir()
	w.check(os.Symlink(repo, filepath.Join(inputs, "snapshot")))
	return nodes, inputs
}

func TestSolver(t *testing.T) {
	nodes, inputs := snapshot(t)
	for _, test := range []struct {
		query string // names; ! for all that is essential
		base  string // what is there already
		want  string // or, after !, what the error says
	}{
		{"lib", "", "lib_2"},
		{"!", "", "base_1 lib_2 mawk_1 req_1"},
		{"! gawk", "", "base_1 gawk_1 lib_2 mawk_1 req_1"},
		{"oldlib", "", "lib_2~rc oldlib_1"},
		{"first", "", "first_1 lib_2"},
		{"first gawk", "", "first_1 gawk_1"},
		{"virtual", "", "mawk_1 virtual_1"},
		{"satisfied", "", "gawk_1 satisfied_1"},
		{"mail-any", "", "agent2_1 mail-any_1"},
		{"mail-3", "", "agent_1 mail-3_1"},
		{"avoids lib", "", "avoids_1 gawk_1 lib_2"},
		{"avoids", "", "avoids_1 enemy_1"},
		{"breaker lib", "", "breaker_1 lib_2"},
		{"self", "", "self_1"},
		{"any", "", "any_1 lib_2"},
		{"loop", "", "loop_1 pool_1"},
		{"first", "!", "first_1"},
		{"lib", "!", ""},
		{"virtual gawk", "! lib", "gawk_1 virtual_1"},
		{"mail-any", "mail-3", "mail-any_1"},

		{"lob", "", `!package lob: the repository does not have it (did you mean "lib"?)`},
		{"quite-another", "", "!a mirror's filter has to pick it"},
		{"awk", "", "!package awk: it is virtual (ask for one that provides it: gawk, mawk)"},
		{"mail-4", "", "!package mail-4_1_amd64 (it is asked for): it depends on mail (>= 4), which the repository does not have"},
		{"enemy lib", "", "!package lib_2_amd64 (it is asked for): it cannot be together with enemy_1_amd64 (it is asked for)"},
		{"lib enemy", "", "!it cannot be together with"},
		{"oldlib breaker", "", "!package lib_2~rc_amd64 (oldlib depends on lib (<< 2)): it cannot be together with breaker_1_amd64"},
		{"self self2", "", "!it cannot be together with"},
		{"lib oldlib", "", "!package oldlib_1_amd64 (it is asked for): it depends on lib (<< 2), and lib_2_amd64 is picked already (it is asked for)"},
		{"oldlib", "lib", "!and lib_2_amd64 is picked already (the base has it)"},
		{"newlib", "oldlib", "!package oldlib_1_amd64 (the base has it): it depends on lib (<< 2), which what is picked breaks"},
		{"enemy", "lib", "!package enemy_1_amd64 (it is asked for): it cannot be together with lib_2_amd64 (the base has it)"},
	} {
		t.Run(test.query+" on "+test.base, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.Symlink(filepath.Join(inputs, "snapshot"), filepath.Join(dir, "snapshot")); err != nil {
				t.Fatal(err)
			}
			node := ResolveNode("resolve/x", nodes.Integrated, parseQuery(test.query), nil)
			if test.base != "" {
				base := ResolveNode("resolve/base", nodes.Integrated, parseQuery(test.base), nil)
				out, err := build(t, base, dir)
				if err != nil {
					t.Fatal(err)
				}
				if err := os.Symlink(out, filepath.Join(dir, "base")); err != nil {
					t.Fatal(err)
				}
				node = ResolveNode("resolve/x", nodes.Integrated, parseQuery(test.query), base)
			}
			out, err := build(t, node, dir)
			if want, fails := strings.CutPrefix(test.want, "!"); fails {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Fatalf("got %v, want %s", err, want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			checkPicked(t, out, strings.Fields(test.want))
		})
	}
}

func parseQuery(s string) Query {
	s, essential := strings.CutPrefix(s, "!")
	return Query{Packages: strings.Fields(s), Essential: essential}
}

func checkPicked(t *testing.T, out string, want []string) {
	picked, err := ReadPicked(out)
	if err != nil {
		t.Fatal(err)
	}
	var got, files []string
	for _, p := range picked {
		got = append(got, p.Name+"_"+p.Version)
		files = append(files, "debs/"+p.File)
	}
	if diff := cmp.Diff(want, got); len(want)+len(got) > 0 && diff != "" {
		t.Error(diff)
	}
	files = append(files, PickedFile)
	slices.Sort(files)
	if diff := cmp.Diff(files, sortedKeys(tree(t, out))); diff != "" {
		t.Errorf("files: %s", diff)
	}
}

func TestReadPickedRefuses(t *testing.T) {
	if _, err := ReadPicked(t.TempDir()); err == nil || !strings.Contains(err.Error(), "not the output of a resolve") {
		t.Errorf("got %v", err)
	}
}
