package python

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/rcbops/rpcbuild/derive/download"
	"github.com/rcbops/rpcbuild/store"
)

func TestIndexLocator(t *testing.T) {
	source := []byte("source")
	s := serveIndex(t, map[string]map[string][]byte{"a": {"a-1.0.tar.gz": source, "a-1.0-py3-none-any.whl": []byte("wheel")}})
	var asked atomic.Int32
	handler := s.Config.Handler
	s.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		handler.ServeHTTP(w, r)
	})
	x, err := NewIndex(download.New(nil))
	if err != nil {
		t.Fatal(err)
	}
	sum := digest.FromBytes(source).Encoded()
	for range 2 {
		urls, err := x.Locator("a", "a-1.0.tar.gz", sum)(context.Background())
		if err != nil || len(urls) != 1 || urls[0] != s.URL+"/files/a/a-1.0.tar.gz" {
			t.Errorf("got %v, %v", urls, err)
		}
	}
	if _, err := x.Locator("a", "a-1.0.tar.gz", strings.Repeat("0", 64))(context.Background()); err == nil || !strings.Contains(err.Error(), "no such file with the SHA-256") {
		t.Errorf("other content: got %v", err)
	}
	if n := asked.Load(); n != 1 {
		t.Errorf("%d requests for one project, want 1", n)
	}
	var status *download.StatusError
	if _, err := x.Locator("b", "b-1.tar.gz", sum)(context.Background()); !errors.As(err, &status) || status.Code != http.StatusNotFound {
		t.Errorf("unknown project: got %v", err)
	}
}

func TestIndexCompletes(t *testing.T) {
	ctx := context.Background()
	wheel := []byte("wheel")
	serveIndex(t, map[string]map[string][]byte{"a": {"a-1.0.tar.gz": []byte("source"), "a-1-py3-none-any.whl": wheel}})
	x, err := NewIndex(download.New(nil))
	if err != nil {
		t.Fatal(err)
	}
	want := File{"a-1-py3-none-any.whl", int64(len(wheel)), digest.FromBytes(wheel).Encoded()}
	if f, ok, err := x.pureWheel(ctx, "a", "1.0"); f != want || !ok || err != nil {
		t.Errorf("pure wheel: got %v, %t, %v", f, ok, err)
	}
	if f, err := x.source(ctx, "a", "1"); f.Name != "a-1.0.tar.gz" || f.Size != 6 || err != nil {
		t.Errorf("source: got %v, %v", f, err)
	}
	if _, err := x.source(ctx, "a", "2"); err == nil || !strings.Contains(err.Error(), "list a under binary") {
		t.Errorf("no source: got %v", err)
	}
}

func TestIndexRefusesOtherContent(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/simple/") {
			w.Write([]byte(`<a href="/a-1.tar.gz#sha256=` + strings.Repeat("0", 64) + `">`))
			return
		}
		w.Write([]byte("something else"))
	}))
	defer s.Close()
	x := newIndex(download.New(nil), &pipConfig{Index: s.URL + "/simple"}, nil)
	var wrong *store.DigestError
	if _, err := x.source(context.Background(), "a", "1"); !errors.As(err, &wrong) {
		t.Errorf("got %v, want a digest error", err)
	}
}

func TestIndexAsksExtraIndexes(t *testing.T) {
	empty := httptest.NewServer(http.NotFoundHandler())
	defer empty.Close()
	s := serveIndex(t, map[string]map[string][]byte{"a": {"a-1.tar.gz": []byte("source")}})
	config := &pipConfig{Extra: []string{strings.Replace(s.URL, "http://", "http://user:word@", 1) + "/simple/"}}
	x := newIndex(download.New(nil), config, func(context.Context) (string, error) { return empty.URL, nil })
	files, err := x.files(context.Background(), "a")
	if err != nil || len(files) != 1 || !strings.HasPrefix(files[0].url, "http://user:word@") {
		t.Errorf("got %v, %v", files, err)
	}
}
