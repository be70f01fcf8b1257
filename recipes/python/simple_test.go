package python

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const simpleBase = "https://index.example/simple/six/"

const (
	simpleHTML = `<!DOCTYPE html><html><body>
<a href="../../files/six-1.0.tar.gz#sha256=AB12" data-requires-python="&gt;=3">six-1.0.tar.gz</a><br/>
<a href="https://files.example/six-1.0-py3-none-any.whl#md5=x">six</a>
<A HREF='/f/six-1.0.zip'>six</A><a name="x">no file</a>`
	simpleJSON = `{"meta": {"api-version": "1.1"}, "name": "six", "files": [
{"filename": "six-1.0.tar.gz", "url": "../../files/six-1.0.tar.gz", "hashes": {"sha256": "ab12"}, "size": 7},
{"filename": "../six.whl", "url": "https://files.example/x", "hashes": {}}]}`
)

func TestParseSimple(t *testing.T) {
	for _, test := range []struct {
		contentType, body string
		want              []indexFile
	}{
		{"text/html; charset=utf-8", simpleHTML, []indexFile{
			{File{Name: "six-1.0.tar.gz", SHA256: "ab12"}, "https://index.example/files/six-1.0.tar.gz"},
			{File{Name: "six-1.0-py3-none-any.whl"}, "https://files.example/six-1.0-py3-none-any.whl"},
			{File{Name: "six-1.0.zip"}, "https://index.example/f/six-1.0.zip"},
		}},
		{"text/html", `<base href="https://other.example/a/"><a href="six-1.0.zip">`, []indexFile{
			{File{Name: "six-1.0.zip"}, "https://other.example/a/six-1.0.zip"},
		}},
		{"application/vnd.pypi.simple.v1+json", simpleJSON, []indexFile{
			{File{Name: "six-1.0.tar.gz", SHA256: "ab12", Size: 7}, "https://index.example/files/six-1.0.tar.gz"},
		}},
	} {
		got, err := parseSimple(simpleBase, test.contentType, []byte(test.body))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(test.want, got, cmp.AllowUnexported(indexFile{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.contentType, diff)
		}
	}
	if _, err := parseSimple(simpleBase, "application/json", []byte("{")); err == nil {
		t.Error("broken JSON is accepted")
	}
}

func FuzzParseSimple(f *testing.F) {
	f.Add("text/html", []byte(simpleHTML))
	f.Add("application/vnd.pypi.simple.v1+json", []byte(simpleJSON))
	f.Fuzz(func(t *testing.T, contentType string, body []byte) {
		files, err := parseSimple(simpleBase, contentType, body)
		if err != nil {
			return
		}
		for _, file := range files {
			if file.Name == "" || file.Name == "." || file.Name == ".." || strings.ContainsAny(file.Name, "/\\\x00\n") || file.Size < 0 {
				t.Errorf("file %+v could lead out of a folder", file)
			}
		}
	})
}
