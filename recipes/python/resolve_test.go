package python

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rcbops/rpcbuild/derive/download"
)

// summary is a lock without digests and sizes.
func summary(l *Lock) string {
	var b strings.Builder
	for _, p := range l.Packages {
		b.WriteString(p.ID() + " " + p.File.Name)
		if p.Build {
			b.WriteString(" build")
		}
		for _, r := range p.Requires {
			b.WriteString(" " + r)
		}
		b.WriteString("\n")
	}
	for _, name := range sortedKeys(l.Venvs) {
		b.WriteString(name + ": " + strings.Join(l.Venvs[name].Packages, " ") + "\n")
	}
	return b.String()
}

func TestResolve(t *testing.T) {
	tree := chroot(t)
	wheel := func(name, version, meta string) []byte { return makeWheel(t, name, version, meta, nil) }
	projects := map[string]map[string][]byte{
		"service": {"service-2.0-py3-none-any.whl": wheel("service", "2.0", "Requires-Dist: helper\nRequires-Dist: Native\nRequires-Dist: vendor\nRequires-Dist: free\n")},
		"helper":  {"helper-1.0-py3-none-any.whl": wheel("helper", "1.0", ""), "helper-2.0-py3-none-any.whl": wheel("helper", "2.0", "")},
		"native": {
			"native-1.0-cp37-abi3-manylinux_2_17_x86_64.whl": wheel("native", "1.0", ""),
			"native-1.0.tar.gz": nativeSource{requires: `"declared"`, asked: `"asked>=1"`}.make(t),
		},
		"vendor":   {"vendor-1-cp37-abi3-manylinux_2_17_x86_64.whl": wheel("vendor", "1", "")},
		"free":     {"free-1-py3-none-any.whl": wheel("free", "1", "")},
		"declared": {"declared-1-py3-none-any.whl": wheel("declared", "1", "")},
		"asked":    {"asked-1-py3-none-any.whl": wheel("asked", "1", "")},
	}
	serveIndex(t, projects)
	recipes := t.TempDir()
	constrain := func(text string) { writeFile(t, filepath.Join(recipes, "constraints.txt"), []byte(text)) }
	constrain("# comment\nhelper===1.0\nabsent===7\n")
	d := &Definition{
		Constraints: "constraints.txt", Packages: []string{"python3-dev"}, Binary: []string{"Vendor"},
		Venvs: map[string]Venv{"service": {Requirements: []string{"service"}}},
	}
	resolve := func(old *Lock, update ...string) *Lock {
		t.Helper()
		r := &Resolver{Chroot: func(context.Context) (string, error) { return tree, nil }, Scratch: scratch(t), RecipesDir: recipes, Client: download.New(nil), Log: testLog{t}}
		l, err := r.Resolve(context.Background(), d, old, update)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	check := func(what string, l *Lock, want string) {
		t.Helper()
		if got := summary(l); got != want {
			t.Errorf("%s: got\n%swant\n%s", what, got, want)
		}
		if err := l.Check(d, recipes); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}

	first := resolve(nil)
	want := `asked==1 asked-1-py3-none-any.whl
declared==1 declared-1-py3-none-any.whl
free==1 free-1-py3-none-any.whl
helper==1.0 helper-1.0-py3-none-any.whl
native==1.0 native-1.0.tar.gz build asked==1 declared==1
service==2.0 service-2.0-py3-none-any.whl
vendor==1 vendor-1-cp37-abi3-manylinux_2_17_x86_64.whl
service: free==1 helper==1.0 native==1.0 service==2.0 vendor==1
`
	check("first", first, want)

	// Upstream moves: nothing that is locked does.
	for _, name := range []string{"asked", "declared", "free"} {
		projects[name][name+"-2-py3-none-any.whl"] = wheel(name, "2", "")
	}
	if l := resolve(first); l != first {
		t.Error("a lock that fits its definition was resolved again")
	}
	constrain("helper===2.0\n")
	want = strings.ReplaceAll(strings.ReplaceAll(want, "helper==1.0", "helper==2.0"), "helper-1.0", "helper-2.0")
	second := resolve(first)
	check("a constraint moved", second, want)
	want = strings.ReplaceAll(strings.ReplaceAll(want, "asked==1", "asked==2"), "asked-1", "asked-2")
	check("update asked", resolve(second, "asked"), want)
}

func TestResolveNamesWhatIsMissing(t *testing.T) {
	tree := chroot(t)
	serveIndex(t, map[string]map[string][]byte{
		"binary-only": {"binary_only-1-cp37-abi3-manylinux_2_17_x86_64.whl": makeWheel(t, "binary_only", "1", "", nil)},
	})
	for requirement, want := range map[string]string{
		"binary-only": "list binary-only under binary",
		"no-such":     "No matching distribution found for no-such",
	} {
		d := &Definition{Packages: []string{"python3-dev"}, Venvs: map[string]Venv{"service": {Requirements: []string{requirement}}}}
		r := &Resolver{Chroot: func(context.Context) (string, error) { return tree, nil }, Scratch: scratch(t), RecipesDir: os.TempDir(), Client: download.New(nil), Log: testLog{t}}
		if _, err := r.Resolve(context.Background(), d, nil, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want an error with %q", requirement, err, want)
		}
	}
}
