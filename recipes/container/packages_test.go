package container

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

func TestSortWaves(t *testing.T) {
	all := func(names ...string) []installed {
		var list []installed
		for _, n := range names {
			list = append(list, installed{Name: n})
		}
		return list
	}
	for name, c := range map[string]struct {
		list  []installed
		needs map[string]relations
		want  string
	}{
		"nothing":        {nil, nil, "[]"},
		"independent":    {all("a", "b"), map[string]relations{"a": {depends: []string{"b"}}}, "[[a b]]"},
		"pre-depends":    {all("a", "b"), map[string]relations{"a": {preDepends: []string{"b"}}}, "[[b] [a]]"},
		"not among them": {all("a"), map[string]relations{"a": {preDepends: []string{"libc6"}}}, "[[a]]"},
		// What a is unpacked after must be configured, and so c must be, which b depends on.
		"what that needs": {all("a", "b", "c"), map[string]relations{"a": {preDepends: []string{"b"}}, "b": {depends: []string{"c"}}, "c": {depends: []string{"b"}}}, "[[b c] [a]]"},
		"circle":          {all("a", "b", "c"), map[string]relations{"a": {preDepends: []string{"b"}}, "b": {preDepends: []string{"a"}}}, "[[c] [a b]]"},
	} {
		t.Run(name, func(t *testing.T) {
			waves := make([][]string, 0)
			for _, w := range sortWaves(c.list, c.needs) {
				var names []string
				for _, i := range w {
					names = append(names, i.Name)
				}
				waves = append(waves, names)
			}
			if got := fmt.Sprint(waves); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

func FuzzParseRelations(f *testing.F) {
	f.Add("Pre-Depends: init-system-helpers (>= 1.54~)\nDepends: libc6 (>= 2.34), a:any | b.c+d [amd64], e <!nocheck>\n")
	f.Fuzz(func(t *testing.T, control string) {
		r := parseRelations(control)
		for _, name := range append(r.preDepends, r.depends...) {
			if name == "" {
				t.Error("a relation without a name")
			}
		}
	})
}

func TestParseRelations(t *testing.T) {
	r := parseRelations("Pre-Depends: init-system-helpers (>= 1.54~), dpkg\nDepends: libc6 (>= 2.34), a:any | b.c+d [amd64]\n")
	if got := fmt.Sprint(r.preDepends, r.depends); got != "[init-system-helpers dpkg] [libc6 a b.c+d]" {
		t.Errorf("got %s", got)
	}
}

func TestReadPackagesRefuses(t *testing.T) {
	for _, content := range []string{"", "{}", `[{"name":"a","file":"../a.deb"}]`, `[{"name":"a","file":"a.tar"}]`, `[{"name":"a"}]`} {
		dir := t.TempDir()
		do(t, os.WriteFile(filepath.Join(dir, "packages.json"), []byte(content), 0o644))
		if _, err := readPackages(dir); err == nil {
			t.Errorf("%q was read", content)
		}
	}
}

func TestDebTime(t *testing.T) {
	name := filepath.Join(t.TempDir(), "x.deb")
	header := func(time string) []byte {
		return fmt.Appendf(nil, "!<arch>\n%-16s%-12s0     0     100644  4         `\n", "debian-binary", time)
	}
	do(t, os.WriteFile(name, header("1700000000"), 0o644))
	if got, err := debTime(name); err != nil || got != 1700000000 {
		t.Errorf("got %d, %v", got, err)
	}
	for _, bad := range [][]byte{nil, header("-5"), header("soon"), []byte("!<arch>\n")} {
		do(t, os.WriteFile(name, bad, 0o644))
		if _, err := debTime(name); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}
