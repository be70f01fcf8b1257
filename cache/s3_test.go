package cache_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rcbops/rpcbuild/cache"
	"github.com/rcbops/rpcbuild/cache/servertest"
	"github.com/rcbops/rpcbuild/store"
)

// An upload that fails, or is given up, leaves no parts behind that somebody pays for.
func TestS3Abandoned(t *testing.T) {
	s := s3(t)
	w := openBackend(t, s.URL("p"), cache.Options{}).(cache.Writer)
	large := make([]byte, 20<<20)
	rand.NewChaCha8([32]byte{4}).Read(large)
	oops := errors.New("oops")
	pr, pw := io.Pipe()
	go func() {
		pw.Write(large)
		pw.CloseWithError(oops)
	}()
	if err := w.Put(t.Context(), "file", pr); !errors.Is(err, oops) {
		t.Errorf("put: %v, want the reader's error", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	pr, pw = io.Pipe()
	go func() {
		pw.Write(large)
		cancel()
		pw.Write(large)
		pw.Close()
	}()
	if err := w.Create(ctx, "file", pr); !errors.Is(err, context.Canceled) {
		t.Errorf("create: %v, want the context's error", err)
	}
	pr.Close()
	if err := w.Create(t.Context(), "file", bytes.NewReader(large)); err != nil {
		t.Fatal(err)
	}
	if err := w.Create(t.Context(), "file", bytes.NewReader(large)); !errors.Is(err, os.ErrExist) {
		t.Errorf("create again: %v, want fs.ErrExist", err)
	}
	if parts := uploads(t, s); len(parts) > 0 {
		t.Errorf("parts are left: %q", parts)
	}
}

// uploads returns the files of the uploads that were not ended: versitygw keeps them in a folder.
func uploads(t *testing.T, s *servertest.S3) (files []string) {
	t.Helper()
	err := filepath.WalkDir(filepath.Join(s.Dir, ".sgwtmp"), func(file string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && !strings.Contains(file, "lock") {
			files = append(files, file)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestS3Refusals(t *testing.T) {
	s := s3(t)
	other := "s3://other?region=us-east-1&endpoint=http://" + s.Address
	nobody := "s3://bucket?region=us-east-1&endpoint=http://" + servertest.FreePort(t)
	for name, tt := range map[string]struct{ url, key, secret, want string }{
		"unknown key":  {s.URL(""), "stranger", servertest.S3Secret, "AWS_ACCESS_KEY_ID stranger"},
		"wrong secret": {s.URL(""), servertest.S3Key, "not-the-secret", "AWS_SECRET_ACCESS_KEY is not that of " + servertest.S3Key},
		"no bucket":    {other, servertest.S3Key, servertest.S3Secret, "there is no bucket other"},
		"nobody there": {nobody, servertest.S3Key, servertest.S3Secret, "refused"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("AWS_ACCESS_KEY_ID", tt.key)
			t.Setenv("AWS_SECRET_ACCESS_KEY", tt.secret)
			w := openBackend(t, tt.url, cache.Options{}).(cache.Writer)
			_, _, getErr := w.Get(t.Context(), "file")
			for what, err := range map[string]error{
				"get":    getErr,
				"create": w.Create(t.Context(), "file", strings.NewReader("x")),
				"list":   w.List(t.Context(), "dir", func(cache.FileInfo) error { return nil }),
			} {
				if !errors.Is(err, cache.ErrUnreachable) || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("%s: %v, want cache.ErrUnreachable and %q", what, err, tt.want)
				}
				if err != nil && strings.Contains(err.Error(), servertest.S3Secret) {
					t.Errorf("%s tells the secret: %v", what, err)
				}
			}
		})
	}
}

// between is a server between us and S3 that can do what a server does under load.
func between(t *testing.T, s *servertest.S3, h func(w http.ResponseWriter, r *http.Request, on http.Handler)) string {
	t.Helper()
	to, err := url.Parse("http://" + s.Address)
	if err != nil {
		t.Fatal(err)
	}
	on := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(to)
		r.Out.Host = r.In.Host // it is signed
	}}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h(w, r, on) }))
	t.Cleanup(srv.Close)
	return "s3://bucket/p?region=us-east-1&endpoint=" + srv.URL
}

// A server that says how long it wants to be left alone is left alone so long.
func TestS3SlowDown(t *testing.T) {
	s := s3(t)
	var asked atomic.Int32
	var first atomic.Value
	url := between(t, s, func(w http.ResponseWriter, r *http.Request, on http.Handler) {
		switch asked.Add(1) {
		case 1:
			first.Store(time.Now())
			w.Header().Set("Retry-After", "2")
			w.WriteHeader(http.StatusServiceUnavailable)
			io.WriteString(w, "<Error><Code>SlowDown</Code><Message>please</Message></Error>")
		default:
			if since := time.Since(first.Load().(time.Time)); since < 2*time.Second {
				t.Errorf("asked again after %s, want 2 s", since)
			}
			on.ServeHTTP(w, r)
		}
	})
	w := openBackend(t, url, cache.Options{}).(cache.Writer)
	if err := w.Create(t.Context(), "file", strings.NewReader("content")); err != nil {
		t.Errorf("create: %v", err)
	}
	if got := read(t, s.Dir, "p/file"); got != "content" {
		t.Errorf("the file holds %q", got)
	}
}

// Answers that get lost after the server did what it was asked lose nothing and do nothing twice.
func TestS3LostAnswers(t *testing.T) {
	s := s3(t)
	var lose atomic.Bool
	url := between(t, s, func(w http.ResponseWriter, r *http.Request, on http.Handler) {
		if r.Method == http.MethodPut && lose.CompareAndSwap(true, false) {
			on.ServeHTTP(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		}
		on.ServeHTTP(w, r)
	})
	w := openBackend(t, url, cache.Options{}).(cache.Writer)
	for i := range 3 {
		lose.Store(true)
		line := fmt.Sprintf("line %d\n", i)
		err := w.Update(t.Context(), "index", 100, func(old []byte) ([]byte, error) {
			if bytes.Contains(old, []byte(line)) {
				return old, nil
			}
			return append(bytes.Clone(old), line...), nil
		})
		if err != nil || lose.Load() {
			t.Errorf("update: %v", err)
		}
	}
	if got, want := read(t, s.Dir, "p/index"), "line 0\nline 1\nline 2\n"; got != want {
		t.Errorf("index: %q, want %q", got, want)
	}
}

// A body that breaks off is read on from there.
func TestS3Resumes(t *testing.T) {
	s := s3(t)
	content := make([]byte, 3<<20)
	rand.NewChaCha8([32]byte{5}).Read(content)
	var cut atomic.Int32
	url := between(t, s, func(w http.ResponseWriter, r *http.Request, on http.Handler) {
		if r.Method == http.MethodGet && cut.Add(1) <= 2 {
			w = &cutting{ResponseWriter: w, left: 1 << 20}
		}
		on.ServeHTTP(w, r)
	})
	w := openBackend(t, url, cache.Options{}).(cache.Writer)
	if err := w.Create(t.Context(), "file", bytes.NewReader(content)); err != nil {
		t.Fatal(err)
	}
	body, size, err := w.Get(t.Context(), "file")
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	got, err := io.ReadAll(body)
	if err != nil || !bytes.Equal(got, content) || size != int64(len(content)) || cut.Load() != 3 {
		t.Errorf("get: %d bytes of %d, %v, in %d requests, want all in 3", len(got), size, err, cut.Load())
	}
}

// cutting breaks an answer off.
type cutting struct {
	http.ResponseWriter
	left int
}

func (c *cutting) Write(p []byte) (int, error) {
	if len(p) > c.left {
		c.ResponseWriter.Write(p[:c.left])
		panic(http.ErrAbortHandler)
	}
	c.left -= len(p)
	return c.ResponseWriter.Write(p)
}

// A copy that stands for a link does not follow when the link's target is replaced: it stays what it was made
// from, and that is not wrong.
func TestS3ReplacedTarget(t *testing.T) {
	s, st := s3(t), openStore(t)
	r := openRepo(t, s.URL(""), cache.Options{})
	wheel := func(name, content string) cache.Item {
		return add(t, st, name, "a", map[string]string{"x.whl": content}, store.Manifest{
			Publish: []store.Publication{{Path: "pools/x.whl", File: "x.whl"}},
		})
	}
	list := add(t, st, "list/one", "a", map[string]string{"list": "x.whl"}, store.Manifest{
		Publish: []store.Publication{{Path: "links/x.whl", Link: "pools/x.whl"}},
	})
	one := cache.Release{Name: "one", Items: []cache.Item{wheel("wheel/one", "one"), list}}
	push(t, r, st, one, cache.PushOptions{})
	push(t, r, st, cache.Release{Name: "two", Items: []cache.Item{wheel("wheel/two", "two")}}, cache.PushOptions{Replace: true})
	if got := read(t, s.Dir, "links/x.whl"); got != "one" {
		t.Errorf("the copy is %q, want what it was made from", got)
	}
	wantAll(t, openRepo(t, s.URL(""), cache.Options{}), one)
}
