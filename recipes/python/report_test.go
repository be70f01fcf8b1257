package python

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const goodReport = `{"version": "1", "pip_version": "25.1.1", "environment": {"python_version": "3.13"}, "install": [
{"is_direct": false, "metadata": {"name": "Flask_RESTful", "version": "0.3.10", "requires_dist": ["six"]},
 "download_info": {"url": "https://files.example/a/Flask_RESTful-0.3.10-py2.py3-none-any.whl", "archive_info": {"hash": "sha256=AB", "hashes": {"sha256": "AB"}}}},
{"is_direct": false, "metadata": {"name": "x", "version": "1!2.0+local"},
 "download_info": {"url": "https://files.example/a/x-1%212.0%2Blocal.tar.gz?y=z#f", "archive_info": {}}}]}`

func TestParseReport(t *testing.T) {
	got, err := parseReport([]byte(goodReport))
	if err != nil {
		t.Fatal(err)
	}
	want := &report{Python: "3.13", Choices: []choice{
		{"flask-restful", "0.3.10", "Flask_RESTful-0.3.10-py2.py3-none-any.whl", "ab"},
		{"x", "1!2.0+local", "x-1!2.0+local.tar.gz", ""},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, change := range [][2]string{
		{`"version": "1"`, `"version": "2"`},
		{`"is_direct": false`, `"is_direct": true`},
		{`"0.3.10", "req`, `"0/3", "req`},
		{`"Flask_RESTful", "v`, `"", "v`},
		{"files.example/a/F", "files.example/%zz"},
	} {
		if _, err := parseReport([]byte(strings.Replace(goodReport, change[0], change[1], 1))); err == nil {
			t.Errorf("with %s it is accepted", change[1])
		}
	}
}

func FuzzParseReport(f *testing.F) {
	f.Add([]byte(goodReport))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := parseReport(b)
		if err != nil {
			return
		}
		for _, c := range r.Choices {
			if c.Name == "" || strings.ContainsAny(c.id()+c.File, "/\\\x00\n") {
				t.Errorf("%+v could lead out of a folder", c)
			}
		}
	})
}
