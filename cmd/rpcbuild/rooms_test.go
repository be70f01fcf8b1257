package main_test

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/modfile"
)

const module = "github.com/rcbops/rpcbuild/"

// room returns the room of the house that a package is in, by the longest prefix that fits.
func room(pkg string) string {
	pkg = strings.TrimPrefix(pkg, module)
	for _, prefix := range []string{"cmd", "recipes/spec", "recipes/", "recipes", "derive", "cache", "store"} {
		if strings.HasPrefix(pkg, prefix) {
			return prefix
		}
	}
	return pkg
}

// TestArrows holds who may import whom: data flows one way, and what is apart stays apart.
func TestArrows(t *testing.T) {
	allowed := map[string][]string{
		"cmd":          {"recipes", "recipes/", "recipes/spec", "derive", "cache", "store"},
		"recipes":      {"recipes/", "recipes/spec", "derive", "store"}, // connects the kinds
		"recipes/":     {"recipes/spec", "derive", "store"},             // a kind knows no other kind
		"recipes/spec": {},
		"derive":       {"store"},
		"cache":        {"store"}, // publishes every kind without knowing any
		"store":        {},
	}
	for pkg, imports := range packages(t) {
		for _, imported := range imports {
			sameRoom := room(pkg) == room(imported) && (room(pkg) != "recipes/" || strings.HasPrefix(imported, pkg+"/"))
			if !strings.HasPrefix(imported, module) || sameRoom {
				continue
			}
			if !slices.Contains(allowed[room(pkg)], room(imported)) {
				t.Errorf("%s imports %s: %q may import %v only", pkg, imported, room(pkg), allowed[room(pkg)])
			}
		}
	}
}

// packages returns the imports of every package of the project, without those of its tests.
func packages(t *testing.T) map[string][]string {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", module+"...").Output()
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string][]string)
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all[p.ImportPath] = p.Imports
	}
}

// TestDependencies wants a line in the README for every direct dependency.
func TestDependencies(t *testing.T) {
	content, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	mod, err := modfile.Parse("go.mod", content, nil)
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range mod.Require {
		name := strings.TrimPrefix(r.Mod.Path, "github.com/")
		if !r.Indirect && !strings.Contains(string(readme), name) && !strings.Contains(string(readme), strings.TrimPrefix(name, "golang.org/")) {
			t.Errorf("README.md does not say what %s is for", r.Mod.Path)
		}
	}
}
