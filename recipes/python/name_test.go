package python

import "testing"

func TestNormalize(t *testing.T) {
	for in, want := range map[string]string{"Flask_RESTful": "flask-restful", "oslo.config": "oslo-config", "a-_.b": "a-b", "six": "six"} {
		if got := normalize(in); got != want {
			t.Errorf("%s: got %s, want %s", in, got, want)
		}
	}
}

func TestParseWheelName(t *testing.T) {
	for file, want := range map[string]wheelName{
		"PyJWT-2.11.0-py3-none-any.whl":                   {"pyjwt", "2.11.0", "PyJWT", "py3", "none", "any"},
		"oslo.config-10.3.0-1build2-py2.py3-none-any.whl": {"oslo-config", "10.3.0", "oslo.config", "py2.py3", "none", "any"},
		"cffi-2.0.0-cp313-cp313-manylinux2014_x86_64.whl": {"cffi", "2.0.0", "cffi", "cp313", "cp313", "manylinux2014_x86_64"},
		"local-1.0+deb_1-cp39-abi3-linux_x86_64.whl":      {"local", "1.0+deb_1", "local", "cp39", "abi3", "linux_x86_64"},
	} {
		got, err := parseWheelName(file)
		if err != nil || got != want {
			t.Errorf("%s: got %+v, %v", file, got, err)
		}
	}
	for _, file := range []string{"a.whl", "a-1-py3-none-any.zip", "a-1-2-3-py3-none-any.whl", "../a-1-py3-none-any.whl", ""} {
		if got, err := parseWheelName(file); err == nil {
			t.Errorf("%q: got %+v, want an error", file, got)
		}
	}
}

func TestIsSourceOf(t *testing.T) {
	for _, test := range []struct {
		file, suffix, project, version string
		want                           bool
	}{
		{"uwsgi-2.0.31.tar.gz", ".tar.gz", "uwsgi", "2.0.31", true},
		{"python-ldap-3.4.5.tar.gz", ".tar.gz", "python-ldap", "3.4.5", true},
		{"python_ldap-3.4.5.tar.gz", ".tar.gz", "python-ldap", "3.4.5", true},
		{"Flask-RESTful-0.3.10.zip", ".zip", "flask-restful", "0.3.10", true},
		{"a-1.0-post1.tar.gz", ".tar.gz", "a", "1.0.post1", true},
		{"a-1.tar.gz", ".tar.gz", "a", "1.0", true},
		{"a-10.tar.gz", ".tar.gz", "a", "1", false},
		{"a-b-1.tar.gz", ".tar.gz", "a", "1", false},
		{"a-1.tar.gz", ".zip", "a", "1", false},
	} {
		if got := isSourceOf(test.file, test.suffix, test.project, test.version); got != test.want {
			t.Errorf("%+v: got %t", test, got)
		}
	}
}

func TestLeadingName(t *testing.T) {
	for in, want := range map[string]string{"six": "six", "a.b===1;python_version=='3'": "a.b", "x [y] >1": "x", "": ""} {
		if got := leadingName(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}
