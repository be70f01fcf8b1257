package cache_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rcbops/rpcbuild/cache"
)

func TestServer(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{
		"secret/x": "outside", "repo/links/p/x.whl": "wheel", "repo/pools/f": "content",
		"repo/cache/v1/current": "{}", "repo/cache/v1/blob/abc": "blob", "repo/cache/v1/.lock": "", "repo/.hidden": "x",
	} {
		full := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for link, target := range map[string]string{"inside": "pools/f", "outside": "../secret/x", "absolute": dir + "/secret/x"} {
		if err := os.Symlink(target, filepath.Join(dir, "repo", link)); err != nil {
			t.Fatal(err)
		}
	}
	s, err := cache.NewServer(filepath.Join(dir, "repo"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, c := range []struct {
		method, path, ranges string
		code                 int
		body                 string
	}{
		{"GET", "/pools/f", "", 200, "content"},
		{"HEAD", "/pools/f", "", 200, ""},
		{"GET", "/pools/f", "bytes=3-", 206, "tent"},
		{"GET", "/inside", "", 200, "content"},
		{"GET", "/links/p/", "", 200, `<a href="x.whl">`},
		{"GET", "/cache/v1/blob/abc", "", 200, "blob"},
		{"GET", "/cache/v1/blob/", "", 404, ""},
		{"GET", "/cache/", "", 404, ""},
		{"GET", "/cache/v1/.lock", "", 404, ""},
		{"GET", "/.hidden", "", 404, ""},
		{"GET", "/none", "", 404, ""},
		{"PUT", "/pools/f", "", 405, ""},
		{"DELETE", "/pools/f", "", 405, ""},
	} {
		req := httptest.NewRequest(c.method, c.path, nil)
		if c.ranges != "" {
			req.Header.Set("Range", c.ranges)
		}
		w := httptest.NewRecorder()
		s.ServeHTTP(w, req)
		if w.Code != c.code || !strings.Contains(w.Body.String(), c.body) {
			t.Errorf("%s %s: %d %q, want %d %q", c.method, c.path, w.Code, w.Body, c.code, c.body)
		}
	}
	for _, path := range []string{"/outside", "/absolute", "/../secret/x", "/pools/../../secret/x"} {
		req := httptest.NewRequest("GET", "http://host/", nil)
		req.URL.Path = path
		w := httptest.NewRecorder()
		s.ServeHTTP(w, req)
		if w.Code == 200 || strings.Contains(w.Body.String(), "outside") {
			t.Errorf("GET %s: %d %q, want nothing from outside", path, w.Code, w.Body)
		}
	}
	for path, want := range map[string]string{"/cache/v1/current": "no-cache", "/cache/v1/blob/abc": "immutable", "/pools/f": "no-cache"} {
		w := httptest.NewRecorder()
		s.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		if got := w.Header().Get("Cache-Control"); !strings.Contains(got, want) {
			t.Errorf("%s: Cache-Control %q, want %s", path, got, want)
		}
	}
}

func TestServeTLS(t *testing.T) {
	dir, st := t.TempDir(), openStore(t)
	rel := sample(t, st)
	push(t, openRepo(t, dir, cache.Options{}), st, rel, cache.PushOptions{})
	s, err := cache.NewServer(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	cert, pem, err := cache.SelfSigned([]string{"localhost", "127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- cache.Serve(ctx, l, s, &tls.Config{Certificates: []tls.Certificate{cert}}) }()

	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		t.Fatal("the certificate is no PEM")
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	for _, host := range []string{"localhost", "127.0.0.1"} {
		wantAll(t, openRepo(t, "https://"+net.JoinHostPort(host, port), cache.Options{Roots: roots}), rel)
	}
	stop()
	if err := <-served; err != nil {
		t.Errorf("serve: %v", err)
	}
	if _, err := net.Dial("tcp", l.Addr().String()); err == nil {
		t.Error("the server still listens")
	}
}

// counter counts requests.
type counter struct {
	http.Handler
	paths []string
}

func (c *counter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.paths = append(c.paths, r.URL.Path)
	c.Handler.ServeHTTP(w, r)
}

// A client that knows the newest generation asks one request to know all that exists.
func TestRequests(t *testing.T) {
	dir, st, known := t.TempDir(), openStore(t), t.TempDir()
	rel := sample(t, st)
	push(t, openRepo(t, dir, cache.Options{}), st, rel, cache.PushOptions{})
	c := &counter{Handler: http.FileServer(http.Dir(dir))}
	srv := httptest.NewServer(c)
	defer srv.Close()
	for _, want := range []int{2, 1} {
		c.paths = nil
		r := openRepo(t, srv.URL, cache.Options{Dir: known})
		if _, err := r.Check(t.Context(), rel.Items, false); err != nil {
			t.Fatal(err)
		}
		if len(c.paths) != want {
			t.Errorf("requests %q, want %d", c.paths, want)
		}
	}
}
