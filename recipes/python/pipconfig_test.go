package python

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const goodINI = `# the site's
[global]
index-url = https://global.example/simple
extra_index_url =
    https://one.example/simple
    # not this
    https://two.example/simple
find-links = /of/this/machine
[install]
index-url: https://install.example/simple
`

func TestReadPipConfig(t *testing.T) {
	home := t.TempDir()
	for _, name := range []string{"PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_TRUSTED_HOST", "PIP_CERT", "PIP_CONFIG_FILE", "VIRTUAL_ENV"} {
		t.Setenv(name, "")
	}
	t.Setenv("HOME", home)
	t.Setenv("XDG_CONFIG_HOME", filepath.Join(home, "config"))
	t.Setenv("XDG_CONFIG_DIRS", filepath.Join(home, "xdg"))
	t.Setenv("PIP_CERT", "/machine/ca.crt")
	writeFile(t, filepath.Join(home, "xdg/pip/pip.conf"), []byte("[global]\ntrusted-host = xdg.example\n"))
	writeFile(t, filepath.Join(home, ".pip/pip.conf"), []byte(goodINI))
	writeFile(t, filepath.Join(home, "config/pip/pip.conf"), []byte("[global]\nindex-url = https://user.example/simple\ntrusted-host = user.example\n"))
	check := func(what string, want *pipConfig) {
		t.Helper()
		got, err := readPipConfig()
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	extra := []string{"https://one.example/simple", "https://two.example/simple"}
	check("files", &pipConfig{Index: "https://install.example/simple", Extra: extra, Trusted: []string{"user.example"}, Cert: "/machine/ca.crt"})
	t.Setenv("PIP_INDEX_URL", "https://env.example/simple")
	check("environment", &pipConfig{Index: "https://env.example/simple", Extra: extra, Trusted: []string{"user.example"}, Cert: "/machine/ca.crt"})
	t.Setenv("PIP_CONFIG_FILE", os.DevNull)
	check("no files", &pipConfig{Index: "https://env.example/simple", Extra: []string{}, Trusted: []string{}, Cert: "/machine/ca.crt"})
}

func FuzzParseINI(f *testing.F) {
	f.Add([]byte(goodINI))
	f.Add([]byte("  a = b\n[\n]\n = c\n"))
	f.Fuzz(func(t *testing.T, b []byte) { parseINI(b) })
}
