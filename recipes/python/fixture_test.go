package python

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/rcbops/rpcbuild/derive"
	"github.com/rcbops/rpcbuild/derive/sandbox/sandboxtest"
	"github.com/rcbops/rpcbuild/store"
)

func TestMain(m *testing.M) { sandboxtest.Main(m) }

// chroot returns a root file system with Python, pip and venv: that of RPCBUILD_TEST_CHROOT, or the
// machine's own.
func chroot(t *testing.T) string {
	t.Helper()
	sandboxtest.Need(t)
	if dir := os.Getenv("RPCBUILD_TEST_CHROOT"); dir != "" {
		return dir
	}
	if err := exec.Command("/usr/bin/python3", "-c", "import pip, ensurepip").Run(); err != nil {
		t.Skip("/usr/bin/python3 needs the Debian packages python3-pip and python3-venv")
	}
	return "/"
}

// scratch returns a folder where overlays can be.
func scratch(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/var/tmp", "python")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// makeWheel returns a wheel. meta is added to its METADATA.
func makeWheel(t *testing.T, name, version, meta string, files map[string]string) []byte {
	t.Helper()
	info := name + "-" + version + ".dist-info/"
	all := map[string]string{
		info + "METADATA": "Metadata-Version: 2.1\nName: " + name + "\nVersion: " + version + "\n" + meta,
		info + "WHEEL":    "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
		info + "RECORD":   "",
	}
	for k, v := range files {
		all[k] = v
	}
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, k := range sortedKeys(all) {
		w, err := z.CreateHeader(&zip.FileHeader{Name: k, Modified: time.Date(2026, 1, 2, 3, 4, 6, 0, time.UTC)})
		if err != nil {
			t.Fatal(err)
		}
		w.Write([]byte(all[k]))
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// makeSource returns a source archive with one top folder.
func makeSource(t *testing.T, top string, files map[string]string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for _, k := range sortedKeys(files) {
		h := &tar.Header{Name: top + "/" + k, Mode: 0o644, Size: int64(len(files[k])), ModTime: time.Unix(1_700_000_000, 0)}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		w.Write([]byte(files[k]))
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// backend is a build backend that needs no tools, and leaves to chance what backends do: the order
// of entries, their times and modes. %s is more of build_wheel.
const backend = `
import os, random, shutil, time, zipfile

def get_requires_for_build_wheel(settings=None):
    return ASKED

def build_wheel(folder, settings=None, metadata=None):
    assert os.environ["SOURCE_DATE_EPOCH"] == "1700000000"
    EXTRA
    name = "native-1.0-cp37-abi3-linux_x86_64.whl"
    files = {
        "native/__init__.py": "here = %r" % os.getcwd(),
        "native/_native.so": open("/usr/bin/true", "rb").read() if COMPILED else "",
        "native-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: Native\nVersion: 1.0\n",
        "native-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: false\nTag: cp37-abi3-linux_x86_64\n",
    }
    order = list(files)
    random.SystemRandom().shuffle(order)
    with zipfile.ZipFile(os.path.join(folder, name), "w") as z:
        for f in order:
            z.writestr(zipfile.ZipInfo(f, time.gmtime(time.time() - random.SystemRandom().randrange(10**6))[:6]), files[f])
    return name
`

// A nativeSource is the source archive of a project with compiled code.
type nativeSource struct {
	requires string // of pyproject.toml
	asked    string // what the backend asks for
	extra    string // a statement that it executes
	pure     bool   // it falls back to plain Python
}

func (n nativeSource) make(t *testing.T) []byte {
	code := strings.NewReplacer("ASKED", "["+n.asked+"]", "EXTRA", n.extra+"\n", "COMPILED", map[bool]string{true: "False", false: "True"}[n.pure]).Replace(backend)
	return makeSource(t, "native-1.0", map[string]string{
		"pyproject.toml":      "[build-system]\nrequires = [" + n.requires + "]\nbuild-backend = \"inside\"\nbackend-path = [\"tree\"]\n",
		"tree/inside.py":      code,
		"native.egg-info/PKG": "",
	})
}

// newBuild returns a build with params whose inputs hold the given files: input -> file -> content.
// An input without files is the chroot.
func newBuild(t *testing.T, params any, inputs map[string]map[string][]byte) *derive.Build {
	t.Helper()
	dir := scratch(t)
	drv := &derive.Derivation{Inputs: make(map[string]store.ArtifactID)}
	for name, files := range inputs {
		drv.Inputs[name] = store.ArtifactID{}
		target := filepath.Join(dir, "inputs", name)
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			t.Fatal(err)
		}
		if files == nil {
			if err := os.Symlink(chroot(t), target); err != nil {
				t.Fatal(err)
			}
			continue
		}
		for file, content := range files {
			writeFile(t, filepath.Join(target, file), content)
		}
	}
	for _, d := range []string{"output", "scratch"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	var err error
	if drv.Params, err = store.CanonicalJSON(params); err != nil {
		t.Fatal(err)
	}
	return derive.NewBuild(drv, filepath.Join(dir, "inputs"), filepath.Join(dir, "output"), filepath.Join(dir, "scratch"), testLog{t})
}

func writeFile(t *testing.T, name string, content []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, content, 0o644); err != nil {
		t.Fatal(err)
	}
}

type testLog struct{ t *testing.T }

func (l testLog) Write(p []byte) (int, error) {
	l.t.Log(strings.TrimRight(string(p), "\n"))
	return len(p), nil
}

// outputs returns the digests of what a build left.
func outputs(t *testing.T, b *derive.Build) map[string]digest.Digest {
	t.Helper()
	entries, err := os.ReadDir(b.Output)
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]digest.Digest)
	for _, e := range entries {
		content, err := os.ReadFile(filepath.Join(b.Output, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		got[e.Name()] = digest.FromBytes(content)
	}
	return got
}

// serveIndex serves files as an index does, as HTML and so without their sizes. It is what the
// machine's pip is then configured with.
func serveIndex(t *testing.T, projects map[string]map[string][]byte) *httptest.Server {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("/simple/{project}/", func(w http.ResponseWriter, r *http.Request) {
		files := projects[r.PathValue("project")]
		if files == nil {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "text/html")
		for _, name := range sortedKeys(files) {
			fmt.Fprintf(w, "<a href=\"/files/%s/%s#sha256=%s\">%s</a>\n", r.PathValue("project"), name, digest.FromBytes(files[name]).Encoded(), name)
		}
	})
	mux.HandleFunc("/files/{project}/{name}", func(w http.ResponseWriter, r *http.Request) {
		w.Write(projects[r.PathValue("project")][r.PathValue("name")])
	})
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	t.Setenv("PIP_CONFIG_FILE", os.DevNull)
	t.Setenv("PIP_INDEX_URL", s.URL+"/simple")
	return s
}
