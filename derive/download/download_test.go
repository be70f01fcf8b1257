package download

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rcbops/rpcbuild/store"
)

var content = bytes.Repeat([]byte("0123456789abcdef"), 4096) // 64 KiB

// A script is a server that answers each request by its next step, and the last one again.
type script struct {
	*httptest.Server
	mu     sync.Mutex
	steps  []http.HandlerFunc
	ranges []string // of the requests that came
}

func serve(t *testing.T, steps ...http.HandlerFunc) *script {
	t.Helper()
	s := &script{steps: steps}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		step := s.steps[min(len(s.ranges), len(s.steps)-1)]
		s.ranges = append(s.ranges, r.Header.Get("Range"))
		s.mu.Unlock()
		step(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

// The steps of scripts.
func whole(w http.ResponseWriter, r *http.Request) {
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
}

func ignoresRange(w http.ResponseWriter, _ *http.Request) { w.Write(content) }

func truncated(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Length", fmt.Sprint(len(content)))
	w.Write(content[:1000])
}

func wrong(w http.ResponseWriter, r *http.Request) {
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(bytes.ToUpper(content)))
}

func short(w http.ResponseWriter, r *http.Request) {
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content[:1000]))
}

func endless(w http.ResponseWriter, r *http.Request) {
	for r.Context().Err() == nil {
		if _, err := w.Write(content); err != nil {
			return
		}
	}
}

func stalls(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Length", fmt.Sprint(len(content)))
	w.Write(content[:1000])
	w.(http.Flusher).Flush()
	<-r.Context().Done()
}

func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", code) }
}

func TestFile(t *testing.T) {
	const have = 3000
	for name, c := range map[string]struct {
		partial []byte // what an earlier attempt left
		steps   []http.HandlerFunc
		ranges  string // of the requests
		first   int64  // progress begins above it
		err     string // part of the error; empty for success
		left    int    // bytes of the partial file after an error, -1 for no file
	}{
		"plain":                  {nil, []http.HandlerFunc{whole}, "-", 0, "", 0},
		"resumes":                {content[:have], []http.HandlerFunc{whole}, "bytes=3000-", have, "", 0},
		"is complete already":    {content, []http.HandlerFunc{whole}, "", 0, "", 0},
		"server ignores range":   {content[:have], []http.HandlerFunc{ignoresRange}, "bytes=3000-", 0, "", 0},
		"truncated, then whole":  {nil, []http.HandlerFunc{truncated, whole}, "- bytes=1000-", 0, "", 0},
		"500, then whole":        {nil, []http.HandlerFunc{status(500), whole}, "- -", 0, "", 0},
		"429, then whole":        {nil, []http.HandlerFunc{status(429), whole}, "- -", 0, "", 0},
		"404":                    {nil, []http.HandlerFunc{status(404)}, "-", 0, "the server answered 404 Not Found", 0},
		"404 keeps the partial":  {content[:have], []http.HandlerFunc{status(404)}, "bytes=3000-", 0, "404", have},
		"wrong content":          {nil, []http.HandlerFunc{wrong}, "-", 0, "want sha256:", -1},
		"too long":               {nil, []http.HandlerFunc{endless}, "-", 0, "want 65536 bytes", -1},
		"too short":              {nil, []http.HandlerFunc{short}, "- bytes=1000- - bytes=1000-", 0, "less than the 1000 bytes", 0},
		"partial is garbage":     {bytes.Repeat([]byte("x"), have), []http.HandlerFunc{whole}, "bytes=3000- -", 0, "", 0},
		"garbage of full length": {bytes.Repeat([]byte("x"), len(content)), []http.HandlerFunc{whole}, "-", 0, "", 0},
		"partial is too long":    {append(slices.Clone(content), 'x'), []http.HandlerFunc{whole}, "-", 0, "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // retries wait
			s := serve(t, c.steps...)
			partial := filepath.Join(t.TempDir(), "partial")
			if c.partial != nil {
				if err := os.WriteFile(partial, c.partial, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			var progress []int64
			err := New(nil).File(context.Background(), []string{s.URL + "/f"}, partial, store.HashBlob(content), func(n int64) {
				progress = append(progress, n)
			})
			var ranges []string
			for _, r := range s.ranges {
				if r == "" {
					r = "-"
				}
				ranges = append(ranges, r)
			}
			if got := strings.Join(ranges, " "); got != c.ranges {
				t.Errorf("requests %q, want %q", got, c.ranges)
			}
			got, readErr := os.ReadFile(partial)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) || !strings.Contains(err.Error(), s.URL+"/f") {
					t.Errorf("error %v, want %q", err, c.err)
				}
				if c.left < 0 && readErr == nil || c.left >= 0 && len(got) != c.left {
					t.Errorf("%d bytes are left, %v, want %d", len(got), readErr, c.left)
				}
				return
			}
			if err != nil || !bytes.Equal(got, content) {
				t.Fatalf("got %d bytes, %v, %v", len(got), err, readErr)
			}
			if len(s.ranges) > 0 && (len(progress) == 0 || progress[len(progress)-1] != int64(len(content)) || progress[0] <= c.first) {
				t.Errorf("progress %v", progress)
			}
		})
	}
}

func TestWrongContentIsADigestError(t *testing.T) {
	s := serve(t, wrong)
	partial := filepath.Join(t.TempDir(), "partial")
	err := New(nil).File(context.Background(), []string{s.URL}, partial, store.HashBlob(content), nil)
	var wrong *store.DigestError
	if !errors.As(err, &wrong) || wrong.Got != store.HashBlob(bytes.ToUpper(content)) {
		t.Errorf("got %v", err)
	}
}

func TestNextURL(t *testing.T) {
	bad, good := serve(t, wrong), serve(t, whole)
	partial := filepath.Join(t.TempDir(), "partial")
	want := store.HashBlob(content)
	if err := New(nil).File(context.Background(), []string{bad.URL, good.URL}, partial, want, nil); err != nil {
		t.Error(err)
	}
	gone := serve(t, status(410))
	err := New(nil).File(context.Background(), []string{gone.URL, bad.URL}, partial+"2", want, nil)
	if err == nil || !strings.Contains(err.Error(), gone.URL) || !strings.Contains(err.Error(), bad.URL) {
		t.Errorf("got %v, want both reasons", err)
	}
	if err := New(nil).File(context.Background(), nil, partial+"3", want, nil); err == nil {
		t.Error("no URL is enough")
	}
}

func TestStall(t *testing.T) {
	s := serve(t, stalls, whole)
	c := New(nil)
	c.Stall(200 * time.Millisecond)
	partial := filepath.Join(t.TempDir(), "partial")
	if err := c.File(context.Background(), []string{s.URL}, partial, store.HashBlob(content), nil); err != nil {
		t.Fatal(err)
	}
	if len(s.ranges) != 2 || s.ranges[1] != "bytes=1000-" {
		t.Errorf("requests %q", s.ranges)
	}
	c.tries = 1
	silent := serve(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	for _, url := range []string{silent.URL, serve(t, stalls).URL} {
		_, _, err := c.Get(context.Background(), url, 1<<20, nil)
		if !errors.Is(err, errStalled) || !strings.Contains(err.Error(), url+": no byte for 200ms") {
			t.Errorf("got %v", err)
		}
	}
}

func TestSlowIsNoStall(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		for i := range 8 {
			w.Write(content[i*8192 : (i+1)*8192])
			w.(http.Flusher).Flush()
			time.Sleep(100 * time.Millisecond)
		}
	})
	c := New(nil)
	c.Stall(400 * time.Millisecond)
	if b, _, err := c.Get(context.Background(), s.URL, 1<<20, nil); err != nil || !bytes.Equal(b, content) {
		t.Errorf("got %d bytes, %v", len(b), err)
	}
}

func TestGet(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Etag", r.Header.Get("If-None-Match"))
		whole(w, r)
	})
	c := New(nil)
	_, _, err := c.Get(context.Background(), s.URL, int64(len(content)), http.Header{"If-None-Match": {`"x"`}})
	var status *StatusError
	if !errors.As(err, &status) || status.Code != http.StatusNotModified {
		t.Errorf("conditional: %v", err)
	}
	b, answer, err := c.Get(context.Background(), s.URL, int64(len(content)), nil)
	if err != nil || !bytes.Equal(b, content) || answer.Get("Content-Type") == "" {
		t.Errorf("got %d bytes, %v, %v", len(b), answer, err)
	}
	before := len(s.ranges)
	if _, _, err := c.Get(context.Background(), s.URL, int64(len(content))-1, nil); err == nil || !strings.Contains(err.Error(), "more than 65535 bytes") {
		t.Errorf("too large: %v", err)
	}
	if len(s.ranges) != before+1 {
		t.Error("too large was asked for again")
	}
	if _, _, err := c.Get(context.Background(), serve(t, endless).URL, 1000, nil); err == nil {
		t.Error("endless is accepted")
	}
	if _, _, err := c.Get(context.Background(), "gopher://example.org/", 1000, nil); err == nil {
		t.Error("gopher is accepted")
	}
}

func TestUpstreams(t *testing.T) {
	c := New(map[string]string{
		"https://example.org/":        "http://mirror/",
		"https://example.org/debian/": "file:///srv/debian/",
	})
	for raw, want := range map[string]string{
		"https://example.org/x":          "http://mirror/x",
		"https://example.org/debian/x/y": "file:///srv/debian/x/y",
		"https://example.org":            "https://example.org",
		"http://example.org/x":           "http://example.org/x",
	} {
		if got := c.URL(raw); got != want {
			t.Errorf("URL(%s) = %s, want %s", raw, got, want)
		}
	}
	s := serve(t, whole)
	c = New(map[string]string{"https://example.org/": s.URL + "/"})
	partial := filepath.Join(t.TempDir(), "partial")
	if err := c.File(context.Background(), []string{"https://example.org/f"}, partial, store.HashBlob(content), nil); err != nil {
		t.Error(err)
	}
}

func TestFileURL(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "a b+c%20.deb")
	if err := os.WriteFile(name, content, 0o644); err != nil {
		t.Fatal(err)
	}
	url := "file://" + dir + "/a%20b+c%2520.deb"
	partial := filepath.Join(dir, "partial")
	if err := os.WriteFile(partial, content[:100], 0o644); err != nil {
		t.Fatal(err)
	}
	if err := New(nil).File(context.Background(), []string{url}, partial, store.HashBlob(content), nil); err != nil {
		t.Error(err)
	}
	var status *StatusError
	if _, _, err := New(nil).Get(context.Background(), "file://"+dir+"/none", 10, nil); !errors.As(err, &status) || status.Code != 404 {
		t.Errorf("got %v", err)
	}
}

func TestCancelled(t *testing.T) {
	for name, step := range map[string]http.HandlerFunc{"stalls": stalls, "fails": status(503), "endless": endless} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, step)
			ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
			defer cancel()
			start := time.Now()
			_, _, err := New(nil).Get(ctx, s.URL, 1<<50, nil)
			if err == nil || name != "fails" && !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v", err)
			}
			if d := time.Since(start); d > 2*time.Second {
				t.Errorf("it took %s", d)
			}
		})
	}
}

func TestDiskFull(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("a file system of a few pages needs root")
	}
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=16k"); err != nil {
		t.Skipf("mount a tmpfs: %v", err)
	}
	defer unix.Unmount(dir, unix.MNT_DETACH)
	s := serve(t, whole)
	err := New(nil).File(context.Background(), []string{s.URL}, filepath.Join(dir, "partial"), store.HashBlob(content), nil)
	if !errors.Is(err, unix.ENOSPC) || !strings.Contains(err.Error(), dir) {
		t.Errorf("got %v", err)
	}
	if len(s.ranges) != 1 {
		t.Errorf("asked %d times for what there is no room for", len(s.ranges))
	}
}
