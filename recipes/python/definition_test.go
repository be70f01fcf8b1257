package python

import (
	"errors"
	"path/filepath"
	"testing"

	"github.com/rcbops/rpcbuild/recipes/spec"
)

func goodDefinition() *Definition {
	return &Definition{
		Constraints: "constraints.txt", BuildConstraints: []string{"setuptools<81"}, Packages: []string{"python3-dev"},
		Binary: []string{"cryptography"}, Pure: []string{"charset-normalizer"},
		Venvs: map[string]Venv{"keystone": {Requirements: []string{"keystone[ldap,memcache]==29.1.0", "PyMySQL", "uWSGI >=2,<3 ; python_version>'3'"}}},
	}
}

func TestValidate(t *testing.T) {
	if err := goodDefinition().Validate(); err != nil {
		t.Fatal(err)
	}
	for path, spoil := range map[string]func(d *Definition){
		"$.python.constraints":                    func(d *Definition) { d.Constraints = "../constraints.txt" },
		"$.python.build_constraints[0]":           func(d *Definition) { d.BuildConstraints = []string{"-r file"} },
		"$.python.venvs":                          func(d *Definition) { d.Venvs = nil },
		"$.python.venvs.Key Stone":                func(d *Definition) { d.Venvs["Key Stone"] = Venv{} },
		"$.python.venvs.keystone.requirements":    func(d *Definition) { d.Venvs["keystone"] = Venv{} },
		"$.python.venvs.keystone.requirements[0]": func(d *Definition) { d.Venvs["keystone"] = Venv{[]string{"keystone @ https://upstream.example/k.whl"}} },
		"$.python.venvs.keystone.requirements[1]": func(d *Definition) { d.Venvs["keystone"] = Venv{[]string{"keystone", "--pre"}} },
		"$.python.packages":                       func(d *Definition) { d.Packages = nil },
		"$.python.packages[0]":                    func(d *Definition) { d.Packages = []string{"a b"} },
		"$.python.binary[1]":                      func(d *Definition) { d.Binary = []string{"rpds.py", "rpds-py"} },
		"$.python.pure[0]":                        func(d *Definition) { d.Pure = []string{"Cryptography"} },
	} {
		d := goodDefinition()
		spoil(d)
		err := d.Validate()
		var e *spec.Error
		if !errors.As(err, &e) || e.Path != path {
			t.Errorf("%s: got %v", path, err)
		}
	}
}

func TestDigestCountsWhatConstraintsSay(t *testing.T) {
	dir := t.TempDir()
	of := func(d *Definition, constraints string) string {
		t.Helper()
		writeFile(t, filepath.Join(dir, "constraints.txt"), []byte(constraints))
		sum, err := d.Digest(dir)
		if err != nil {
			t.Fatal(err)
		}
		return sum.String()
	}
	d := goodDefinition()
	first := of(d, "a===1\n")
	if of(d, "# said differently\n\n  a===1") != first {
		t.Error("a comment changes the digest")
	}
	if of(d, "a===2\n") == first {
		t.Error("a constraint does not change the digest")
	}
	d.Binary = nil
	if of(d, "a===1\n") == first {
		t.Error("the definition does not change the digest")
	}
	var wrong *spec.Error
	if _, err := d.Digest(t.TempDir()); !errors.As(err, &wrong) || wrong.Path != "$.python.constraints" {
		t.Errorf("without constraints: got %v", err)
	}
}
