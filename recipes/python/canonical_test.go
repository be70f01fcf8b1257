package python

import (
	"archive/zip"
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

type zipEntry struct {
	name, content string
	mode          os.FileMode
	when          time.Time
}

func makeZip(t testing.TB, entries ...zipEntry) string {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, e := range entries {
		h := &zip.FileHeader{Name: e.name, Modified: e.when, Method: zip.Store}
		h.SetMode(e.mode)
		w, err := z.CreateHeader(h)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(w, e.content)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "x.whl")
	if err := os.WriteFile(name, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	return name
}

const metadata = "Metadata-Version: 2.1\nName: A_b\nVersion: 1.0\n\nName: of nothing\n"

func TestCanonicalWheel(t *testing.T) {
	when := time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC)
	early, late := time.Date(1990, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2030, 1, 1, 1, 1, 1, 0, time.FixedZone("far", 7200))
	first := makeZip(t,
		zipEntry{"a_b-1.0.dist-info/RECORD", "wrong", 0o644, early},
		zipEntry{"a_b-1.0.dist-info/METADATA", metadata, 0o600, late},
		zipEntry{"z.so", "\x7fELF...", 0o700, late},
		zipEntry{"a/", "", 0o755 | os.ModeDir, late},
		zipEntry{"a/b, c.py", "x", 0o664, early},
	)
	second := makeZip(t,
		zipEntry{"a/b, c.py", "x", 0o600, late},
		zipEntry{"z.so", "\x7fELF...", 0o775, early},
		zipEntry{"a_b-1.0.dist-info/METADATA", metadata, 0o644, early},
	)
	var got, again bytes.Buffer
	info, err := canonicalWheel(&got, first, when)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := canonicalWheel(&again, second, when); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Bytes(), again.Bytes()) {
		t.Error("two wheels of the same content have two canonical forms")
	}
	if want := (wheelInfo{Name: "a-b", Version: "1.0", Native: true}); *info != want {
		t.Errorf("got %+v, want %+v", *info, want)
	}
	r, err := zip.NewReader(bytes.NewReader(got.Bytes()), int64(got.Len()))
	if err != nil {
		t.Fatal(err)
	}
	var listing, record string
	for _, f := range r.File {
		listing += f.Name + " " + f.Mode().String() + " " + f.Modified.UTC().Format(time.DateTime) + "\n"
		if strings.HasSuffix(f.Name, "/RECORD") {
			rc, err := f.Open()
			if err != nil {
				t.Fatal(err)
			}
			b, err := io.ReadAll(rc)
			if err != nil {
				t.Fatal(err)
			}
			record = string(b)
		}
	}
	want := `a/b, c.py -rw-r--r-- 2026-02-03 04:05:06
z.so -rwxr-xr-x 2026-02-03 04:05:06
a_b-1.0.dist-info/METADATA -rw-r--r-- 2026-02-03 04:05:06
a_b-1.0.dist-info/RECORD -rw-r--r-- 2026-02-03 04:05:06
`
	if diff := cmp.Diff(want, listing); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
	want = `"a/b, c.py",sha256=LXEWQrcmsEQBYnyp-6wy9chTD7GQPMTbAiWHF5IaSIE,1
z.so,sha256=5-u7tH-CFBPyUC4Sqx5SQplPyW9QqPhcEXuiS1fyxt4,7
a_b-1.0.dist-info/METADATA,sha256=yZKvyHh8nTdu1dC4jnvr6Q3vMona2iYHQ524qHhawTQ,63
a_b-1.0.dist-info/RECORD,,
`
	if diff := cmp.Diff(want, record); diff != "" {
		t.Errorf("RECORD (-want +got):\n%s", diff)
	}
}

func TestCanonicalWheelRefuses(t *testing.T) {
	meta := zipEntry{name: "a-1.dist-info/METADATA", content: metadata}
	for want, entries := range map[string][]zipEntry{
		"it has no .dist-info/METADATA": {{name: "a.py"}},
		"no name and version":           {{name: meta.name, content: "Name: a\n"}},
		"is not a clean path":           {meta, {name: "../a.py"}},
		"is there twice":                {meta, {name: "a.py"}, {name: "a.py"}},
	} {
		if _, err := canonicalWheel(io.Discard, makeZip(t, entries...), zipEpoch()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want an error with %q", err, want)
		}
	}
}

func TestSourceTime(t *testing.T) {
	source := filepath.Join(t.TempDir(), "a-1.tar.gz")
	writeFile(t, source, makeSource(t, "a-1", map[string]string{"x": "", "y": ""}))
	got, err := sourceTime(source)
	if err != nil || got.Unix() != 1_700_000_000 {
		t.Errorf("got %v, %v", got, err)
	}
}

func FuzzCanonicalWheel(f *testing.F) {
	good, err := os.ReadFile(makeZip(f, zipEntry{name: "a-1.dist-info/METADATA", content: metadata}, zipEntry{name: "a.py", content: "x"}))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Fuzz(func(t *testing.T, b []byte) {
		name := filepath.Join(t.TempDir(), "x.whl")
		if err := os.WriteFile(name, b, 0o644); err != nil {
			t.Fatal(err)
		}
		var once bytes.Buffer
		if _, err := canonicalWheel(&once, name, zipEpoch()); err != nil {
			return
		}
		if err := os.WriteFile(name, once.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		var twice bytes.Buffer
		if _, err := canonicalWheel(&twice, name, zipEpoch()); err != nil || !bytes.Equal(once.Bytes(), twice.Bytes()) {
			t.Errorf("the canonical form of a canonical wheel is another (%v)", err)
		}
	})
}
