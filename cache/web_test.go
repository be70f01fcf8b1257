package cache

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// quick is a web backend that does not make a test wait.
func quick(t *testing.T, url string) *web {
	t.Helper()
	b, err := OpenBackend(url, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	w := b.(*web)
	w.wait, w.stall = time.Millisecond, 200*time.Millisecond
	return w
}

func server(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return srv.URL
}

func getAll(t *testing.T, w *web) (string, error) {
	t.Helper()
	body, _, err := w.Get(t.Context(), "file")
	if err != nil {
		return "", err
	}
	defer body.Close()
	b, err := io.ReadAll(body)
	return string(b), err
}

func TestWebUnreachable(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := "http://" + l.Addr().String()
	l.Close()
	_, err = getAll(t, quick(t, closed))
	if !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), closed) || !strings.Contains(err.Error(), "refused") {
		t.Errorf("nobody listens: %v", err)
	}
	for _, code := range []int{401, 403, 500, 503} {
		url := server(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) })
		if _, err := getAll(t, quick(t, url)); !errors.Is(err, ErrUnreachable) {
			t.Errorf("a server that answers %d: %v", code, err)
		}
	}
	silent := server(t, func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-time.After(5 * time.Second):
		}
	})
	if _, err := getAll(t, quick(t, silent)); !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), "no answer for") {
		t.Errorf("a silent server: %v", err)
	}
	tls := httptest.NewTLSServer(http.NotFoundHandler())
	defer tls.Close()
	tls.Config.ErrorLog = nil
	if _, err := getAll(t, quick(t, tls.URL)); !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), "authority") {
		t.Errorf("an unknown authority: %v", err)
	}
}

func TestWebRetries(t *testing.T) {
	var asked atomic.Int32
	url := server(t, func(w http.ResponseWriter, _ *http.Request) {
		if asked.Add(1) < 3 {
			w.Header().Set("Retry-After", "0")
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		io.WriteString(w, "content")
	})
	if got, err := getAll(t, quick(t, url)); err != nil || got != "content" {
		t.Errorf("get: %q, %v", got, err)
	}
}

func TestRetryAfter(t *testing.T) {
	for word, want := range map[string]time.Duration{
		"": 0, "2": 2 * time.Second, "100000": 0, "5000": webPatience, "-1": 0, "soon": 0,
		time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat): 0,
		time.Now().Add(time.Hour).UTC().Format(http.TimeFormat):  webPatience,
	} {
		resp := &http.Response{StatusCode: 503, Header: http.Header{"Retry-After": {word}}}
		if got := retryAfter(resp); got != want {
			t.Errorf("Retry-After %q: %s, want %s", word, got, want)
		}
	}
	if got := retryAfter(&http.Response{StatusCode: 403}); got >= 0 {
		t.Errorf("403: %s, want no other try", got)
	}
}

// A connection that breaks is taken up again where it broke.
func TestWebResumes(t *testing.T) {
	content := strings.Repeat("0123456789", 10000)
	for name, ranges := range map[string]bool{"ranges": true, "no ranges": false} {
		t.Run(name, func(t *testing.T) {
			var asked atomic.Int32
			url := server(t, func(w http.ResponseWriter, r *http.Request) {
				if asked.Add(1) == 1 {
					w.Header().Set("Content-Length", "100000")
					io.WriteString(w, content[:40000])
					return // the server closes a connection that lacks bytes
				}
				if !ranges {
					r.Header.Del("Range")
				}
				http.ServeContent(w, r, "", time.Time{}, strings.NewReader(content))
			})
			got, err := getAll(t, quick(t, url))
			if err != nil || got != content || asked.Load() != 2 {
				t.Errorf("get: %d bytes, %v, in %d requests; want all in 2", len(got), err, asked.Load())
			}
		})
	}
}

// A server that breaks off each time, or stops sending, is given up.
func TestWebBreaksOff(t *testing.T) {
	for name, last := range map[string]func(*http.Request){
		"breaks": func(*http.Request) {},
		"stalls": func(r *http.Request) { <-r.Context().Done() },
	} {
		t.Run(name, func(t *testing.T) {
			url := server(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Length", "100")
				if r.Header.Get("Range") == "" {
					io.WriteString(w, "some")
				}
				w.(http.Flusher).Flush()
				last(r)
			})
			if got, err := getAll(t, quick(t, url)); !errors.Is(err, ErrUnreachable) {
				t.Errorf("get: %q, %v, want cache.ErrUnreachable", got, err)
			}
		})
	}
}

func TestWebRedirects(t *testing.T) {
	to := server(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "content") })
	from := server(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, to+r.URL.Path, http.StatusFound) })
	if got, err := getAll(t, quick(t, from)); err != nil || got != "content" {
		t.Errorf("redirected: %q, %v", got, err)
	}
	secure := httptest.NewTLSServer(http.RedirectHandler(to+"/file", http.StatusFound))
	defer secure.Close()
	w := quick(t, secure.URL)
	transport := w.client.Transport.(*http.Transport)
	transport.TLSClientConfig = secure.Client().Transport.(*http.Transport).TLSClientConfig
	if _, err := getAll(t, w); err == nil || !strings.Contains(err.Error(), "from https to") {
		t.Errorf("redirected from https to http: %v, want a refusal", err)
	}
}
