package container

import (
	"errors"
	"slices"
	"testing"

	"github.com/rcbops/rpcbuild/recipes/spec"
)

func TestValidate(t *testing.T) {
	for _, c := range []struct {
		path string // of the error; empty: none
		def  Definition
	}{
		{"", Definition{}},
		{"", Definition{Variants: map[string]Role{"memcached": {
			Packages: []string{"memcached", "libc6"}, Commands: []string{"true"},
			Files: []File{{Path: "/etc/x", Mode: "0640", Owner: "root:adm"}},
		}}}},
		{"$.container.default.packages[1]", Definition{Default: Role{Packages: []string{"a+b", "A;b"}}}},
		{"$.container.variants.a;b", Definition{Variants: map[string]Role{"a;b": {}}}},
		{"$.container.variants.default", Definition{Variants: map[string]Role{"default": {}}}},
		{"$.container.default.commands[0]", Definition{Default: Role{Commands: []string{" "}}}},
		{"$.container.default.files[0].path", Definition{Default: Role{Files: []File{{Path: "etc/x"}}}}},
		{"$.container.default.files[0].path", Definition{Default: Role{Files: []File{{Path: "/etc/../x"}}}}},
		{"$.container.variants.v.files[0].mode", Definition{Variants: map[string]Role{"v": {Files: []File{{Path: "/x", Mode: "rw"}}}}}},
		{"$.container.default.files[0].owner", Definition{Default: Role{Files: []File{{Path: "/x", Owner: "root"}}}}},
	} {
		err := c.def.Validate()
		var e *spec.Error
		switch {
		case c.path == "" && err != nil:
			t.Errorf("got %v, want no error", err)
		case c.path != "" && (!errors.As(err, &e) || e.Path != c.path):
			t.Errorf("got %v, want an error at %s", err, c.path)
		}
	}
}

func TestRoleHasWhatTheDefaultHas(t *testing.T) {
	d := Definition{
		Default:  Role{Packages: []string{"a"}, Commands: []string{"first"}},
		Variants: map[string]Role{"z": {}, "b": {Packages: []string{"c"}, Commands: []string{"second"}}},
	}
	if got := d.Roles(); !slices.Equal(got, []string{"default", "b", "z"}) {
		t.Errorf("got roles %v", got)
	}
	r := d.Role("b")
	if !slices.Equal(r.Packages, []string{"a", "c"}) || !slices.Equal(r.Commands, []string{"first", "second"}) {
		t.Errorf("got %+v", r)
	}
}
