package python

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

// goodLock is the lock of a service with one wheel that is taken, one that is built, and a tool.
func goodLock() *Lock {
	sum := func(s string) string { return digest.FromString(s).Encoded() }
	return &Lock{
		Constraints: digest.FromString(""), BuildConstraints: []string{"setuptools~=80.0"}, Binary: []string{"vendor"}, Pure: []string{"plain"},
		Python: "3.13",
		Venvs:  map[string]VenvLock{"service": {Requirements: []string{"service"}, Packages: []string{"native==1.0", "service==2.0"}}},
		Packages: []Package{
			{Name: "buildtool", Version: "1", File: File{"buildtool-1-py3-none-any.whl", 1, sum("a")}},
			{Name: "native", Version: "1.0", File: File{"native-1.0.tar.gz", 2, sum("b")}, Build: true, Compiled: true, Requires: []string{"buildtool==1"}},
			{Name: "service", Version: "2.0", File: File{"service-2.0-py3-none-any.whl", 3, sum("c")}},
		},
	}
}

func lockDefinition() *Definition {
	return &Definition{
		BuildConstraints: []string{"setuptools~=80.0"}, Binary: []string{"vendor"}, Pure: []string{"plain"}, Packages: []string{"python3-dev"},
		Venvs: map[string]Venv{"service": {Requirements: []string{"service"}}},
	}
}

func TestLockGolden(t *testing.T) {
	b, err := json.MarshalIndent(goodLock(), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden, err := os.ReadFile("testdata/lock.json")
	if err != nil {
		t.Fatal(err)
	}
	if string(b)+"\n" != string(golden) {
		t.Errorf("got\n%s\nwant\n%s", b, golden)
	}
	l, err := ParseLock(golden)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Check(lockDefinition(), t.TempDir()); err != nil {
		t.Error(err)
	}
	if strings.Contains(string(golden), "://") {
		t.Error("a lock holds no URL")
	}
}

func TestLockRefuses(t *testing.T) {
	for want, spoil := range map[string]func(l *Lock){
		"not a normalized name":        func(l *Lock) { l.Packages[0].Name = "Buildtool" },
		"is not a version":             func(l *Lock) { l.Packages[0].Version = "1/2" },
		"is not the name of a file":    func(l *Lock) { l.Packages[0].File.Name = "../x.whl" },
		"is a wheel of buildtool":      func(l *Lock) { l.Packages[2].File.Name = l.Packages[0].File.Name },
		"is not a source archive":      func(l *Lock) { l.Packages[1].File.Name = "native-1.0-py3-none-any.whl" },
		"requires something to build":  func(l *Lock) { l.Packages[2].Requires = []string{"buildtool==1"} },
		"parse SHA-256":                func(l *Lock) { l.Packages[0].File.SHA256 = "12" },
		"out of order":                 func(l *Lock) { l.Packages[0], l.Packages[1] = l.Packages[1], l.Packages[0] },
		"package absent==1 is not in":  func(l *Lock) { l.Packages[1].Requires = []string{"absent==1"} },
		"package service==9 is not in": func(l *Lock) { l.Venvs["service"].Packages[1] = "service==9" },
		"is not the name of a venv":    func(l *Lock) { l.Venvs["../x"] = VenvLock{} },
		"both native==1.0 and native==2.0": func(l *Lock) {
			p := l.Packages[1]
			p.Version = "2.0"
			l.Packages = append(l.Packages, p)
			l.sort()
			l.Venvs["tempest"] = VenvLock{Packages: []string{"native==2.0"}}
		},
	} {
		l := goodLock()
		spoil(l)
		b, err := json.Marshal(l)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParseLock(b); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want an error with %q", err, want)
		}
	}
}

func TestLockFitsItsDefinition(t *testing.T) {
	for want, change := range map[string]func(d *Definition){
		"build_constraints":       func(d *Definition) { d.BuildConstraints = nil },
		"binary":                  func(d *Definition) { d.Binary = nil },
		"pure":                    func(d *Definition) { d.Pure = nil },
		"venvs":                   func(d *Definition) { d.Venvs["other"] = Venv{} },
		"requirements of service": func(d *Definition) { d.Venvs["service"] = Venv{[]string{"service>1"}} },
	} {
		d := lockDefinition()
		change(d)
		if err := goodLock().Check(d, t.TempDir()); err == nil || !strings.Contains(err.Error(), "other "+want+" than") {
			t.Errorf("%s: got %v", want, err)
		}
	}
}

func FuzzParseLock(f *testing.F) {
	b, err := os.ReadFile("testdata/lock.json")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := ParseLock(b)
		if err != nil {
			return
		}
		for _, p := range l.Packages {
			if strings.ContainsAny(p.Name+p.Version+p.File.Name, "/\x00\n") {
				t.Errorf("package %q %q %q could lead out of a folder", p.Name, p.Version, p.File.Name)
			}
		}
	})
}
