package cache_test

import (
	"errors"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rcbops/rpcbuild/cache"
	"github.com/rcbops/rpcbuild/cache/cachetest"
)

func backend(t *testing.T, url string) cache.Backend {
	t.Helper()
	b, err := cache.OpenBackend(url, cache.Options{Create: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

// serve serves a repo's folder on loopback and returns the URL.
func serve(t *testing.T, dir string) string {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	s, err := cache.NewServer(dir)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(s)
	t.Cleanup(func() { srv.Close(); s.Close() })
	return srv.URL
}

func TestFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "here")
	w, other := backend(t, dir).(cache.Writer), backend(t, dir).(cache.Writer)
	cachetest.TestBackend(t, w, other, w)
}

func TestFileURL(t *testing.T) {
	url := "file://" + t.TempDir()
	w, other := backend(t, url).(cache.Writer), backend(t, url).(cache.Writer)
	cachetest.TestBackend(t, w, other, w)
}

func TestHTTP(t *testing.T) {
	dir := t.TempDir()
	cachetest.TestBackend(t, backend(t, dir).(cache.Writer), backend(t, dir).(cache.Writer), backend(t, serve(t, dir)+"/"))
}

func TestOpenBackend(t *testing.T) {
	for url, want := range map[string]string{
		"":                 "no folder or URL",
		"ftp://host/repo":  "ftp:// is not supported: use a folder",
		"http:///path":     "names no host",
		"file://host/path": "an absolute path",
		"file://relative":  "an absolute path",
		"http://[::1":      "missing ']'",

		"sftp://host":               "names no folder",
		"sftp://host/":              "names no folder",
		"sftp:///repo":              "names no host",
		"sftp://u:secret@host/repo": "REPO_USER_KEY",
		"sftp://host/repo?x=y":      "nothing after it",
		"sftp://host/repo":          "REPO_HOST_PUBKEY",

		"s3://user:secret@b/":           "AWS_ACCESS_KEY_ID",
		"s3:///prefix":                  "names no bucket",
		"s3://b:9000/prefix":            "?endpoint=https://b:9000",
		"s3://b/p?endpont=https://host": "want endpoint or region",
		"s3://b/p?endpoint=ftp://host":  "want https://host:port",
		"s3://b/p?endpoint=https://h/x": "want https://host:port",
	} {
		_, err := cache.OpenBackend(url, cache.Options{})
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("open %q: %v, want %q", url, err, want)
		}
	}
}

func TestFolderIsMissing(t *testing.T) {
	b, err := cache.OpenBackend(filepath.Join(t.TempDir(), "none"), cache.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := b.Get(t.Context(), "file"); !errors.Is(err, cache.ErrUnreachable) {
		t.Errorf("get: %v, want cache.ErrUnreachable", err)
	}
}

// A folder that others write to may hold links to anywhere.
func TestFolderStaysInside(t *testing.T) {
	out, dir := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(out, "secret"), []byte("secret"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(out, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	w := backend(t, dir).(cache.Writer)
	for _, b := range []cache.Backend{w, backend(t, serve(t, dir))} {
		if _, _, err := b.Get(t.Context(), "link/secret"); err == nil {
			t.Errorf("%s: a link out of the folder was followed", b)
		}
	}
	if err := w.Create(t.Context(), "link/new", strings.NewReader("x")); err == nil {
		t.Error("a file was made outside of the folder")
	}
	if entries, _ := os.ReadDir(out); len(entries) != 1 {
		t.Errorf("outside of the folder are %d files, want 1", len(entries))
	}
}
