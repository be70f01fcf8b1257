// Package cachetest holds what every backend of rpc-repo must do, as one suite of tests.
package cachetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"sync"
	"testing"

	"github.com/rcbops/rpcbuild/cache"
)

// TestBackend tests that r reads what w wrote. For a backend that reads and writes, they are the
// same. The tree must be empty.
func TestBackend(t *testing.T, w cache.Writer, r cache.Backend) {
	s := suite{w, r}
	t.Run("absent", s.absent)
	t.Run("create", s.create)
	t.Run("replace", s.replace)
	t.Run("link", s.link)
	t.Run("symlink", s.symlink)
	t.Run("update", s.update)
	t.Run("names", s.names)
	t.Run("interrupted", s.interrupted)
	t.Run("large", s.large)
}

type suite struct {
	w cache.Writer
	r cache.Backend
}

func (s suite) absent(t *testing.T) {
	for _, name := range []string{"nothing", "no/such/file"} {
		if _, _, err := s.r.Get(t.Context(), name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("get %s: %v, want fs.ErrNotExist", name, err)
		}
		if _, err := s.r.Stat(t.Context(), name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("stat %s: %v, want fs.ErrNotExist", name, err)
		}
	}
}

func (s suite) create(t *testing.T) {
	must(t, s.w.Create(t.Context(), "create/a b+c~1", strings.NewReader("first")))
	if err := s.w.Create(t.Context(), "create/a b+c~1", strings.NewReader("second")); !errors.Is(err, fs.ErrExist) {
		t.Errorf("create again: %v, want fs.ErrExist", err)
	}
	must(t, s.w.Flush(t.Context()))
	s.want(t, "create/a b+c~1", "first")
	if _, _, err := s.r.Get(t.Context(), "create/a b+c~1/below"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("get below a file: %v, want fs.ErrNotExist", err)
	}
}

func (s suite) replace(t *testing.T) {
	for _, content := range []string{"one", "another", ""} {
		must(t, s.w.Replace(t.Context(), "replace/file", strings.NewReader(content)))
		s.want(t, "replace/file", content)
	}
}

func (s suite) link(t *testing.T) {
	ctx := t.Context()
	must(t, s.w.Create(ctx, "blob/1", strings.NewReader("1")))
	must(t, s.w.Create(ctx, "blob/2", strings.NewReader("2")))
	must(t, s.w.Create(ctx, "blob/copy of 1", strings.NewReader("1")))
	must(t, s.w.Link(ctx, "link/deep/name", "blob/1", false))
	must(t, s.w.Link(ctx, "link/deep/name", "blob/1", false))
	must(t, s.w.Link(ctx, "link/deep/name", "blob/1", true))
	must(t, s.w.Link(ctx, "link/deep/name", "blob/copy of 1", false))
	s.want(t, "link/deep/name", "1")
	if err := s.w.Link(ctx, "link/deep/name", "blob/2", false); !errors.Is(err, fs.ErrExist) {
		t.Errorf("link over other content: %v, want fs.ErrExist", err)
	}
	s.want(t, "link/deep/name", "1")
	must(t, s.w.Link(ctx, "link/deep/name", "blob/2", true))
	s.want(t, "link/deep/name", "2")
	s.want(t, "blob/1", "1")
	if err := s.w.Link(ctx, "link/other", "blob/none", false); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("link to nothing: %v, want fs.ErrNotExist", err)
	}
}

func (s suite) symlink(t *testing.T) {
	ctx := t.Context()
	must(t, s.w.Create(ctx, "pool/p/wheel", strings.NewReader("wheel")))
	must(t, s.w.Create(ctx, "pool/p/other", strings.NewReader("other")))
	for range 2 {
		must(t, s.w.Symlink(ctx, "links/x/wheel", "pool/p/wheel", false))
	}
	s.want(t, "links/x/wheel", "wheel")
	if err := s.w.Symlink(ctx, "links/x/wheel", "pool/p/other", false); !errors.Is(err, fs.ErrExist) {
		t.Errorf("symlink over another: %v, want fs.ErrExist", err)
	}
	must(t, s.w.Symlink(ctx, "links/x/wheel", "pool/p/other", true))
	s.want(t, "links/x/wheel", "other")
	must(t, s.w.Symlink(ctx, "top", "pool/p/wheel", false))
	s.want(t, "top", "wheel")
}

// update: no line of many updaters is lost.
func (s suite) update(t *testing.T) {
	const updaters = 20
	var wg sync.WaitGroup
	for i := range updaters {
		wg.Go(func() {
			err := s.w.Update(t.Context(), "index/file", 1<<20, func(old []byte) ([]byte, error) {
				return fmt.Appendf(old, "line %d\n", i), nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	got := s.read(t, "index/file")
	for i := range updaters {
		if !strings.Contains(got, fmt.Sprintf("line %d\n", i)) {
			t.Errorf("line %d is lost", i)
		}
	}
	oops := errors.New("oops")
	if err := s.w.Update(t.Context(), "index/file", 1<<20, func([]byte) ([]byte, error) { return nil, oops }); !errors.Is(err, oops) {
		t.Errorf("update that fails: %v, want its error", err)
	}
	if s.read(t, "index/file") != got {
		t.Error("an update that failed wrote something")
	}
	if err := s.w.Update(t.Context(), "index/file", 3, func(b []byte) ([]byte, error) { return b, nil }); err == nil {
		t.Error("an update of a file above its limit is no error")
	}
}

// names: a backend has its own look at names, whoever calls it.
func (s suite) names(t *testing.T) {
	for _, name := range []string{"../outside", "/absolute", "a/../b", "a//b", "", "a/./b"} {
		if _, _, err := s.r.Get(t.Context(), name); err == nil || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("get %q: %v, want a refusal", name, err)
		}
		if err := s.w.Create(t.Context(), name, strings.NewReader("x")); err == nil {
			t.Errorf("create %q: want a refusal", name)
		}
		if err := s.w.Symlink(t.Context(), "names/link", name, false); err == nil {
			t.Errorf("symlink to %q: want a refusal", name)
		}
	}
}

// interrupted: a file whose content ends in an error is not there.
func (s suite) interrupted(t *testing.T) {
	oops := errors.New("oops")
	content := io.MultiReader(strings.NewReader("begin"), failing{oops})
	if err := s.w.Create(t.Context(), "interrupted", content); !errors.Is(err, oops) {
		t.Errorf("create: %v, want the reader's error", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.w.Create(ctx, "interrupted", strings.NewReader("content")); !errors.Is(err, context.Canceled) {
		t.Errorf("create: %v, want the context's error", err)
	}
	if _, err := s.r.Stat(t.Context(), "interrupted"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("stat: %v, want fs.ErrNotExist", err)
	}
}

func (s suite) large(t *testing.T) {
	content := bytes.Repeat([]byte("0123456789abcdef"), 1<<19) // 8 MiB
	must(t, s.w.Create(t.Context(), "large", bytes.NewReader(content)))
	if s.read(t, "large") != string(content) {
		t.Error("a large file came back as another")
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func (s suite) read(t *testing.T, name string) string {
	t.Helper()
	body, size, err := s.r.Get(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	b, err := io.ReadAll(body)
	if err != nil {
		t.Fatal(err)
	}
	stat, err := s.r.Stat(t.Context(), name)
	if err != nil || stat != int64(len(b)) || size >= 0 && size != stat {
		t.Errorf("%s: get says %d bytes, stat %d (%v), and there are %d", name, size, stat, err, len(b))
	}
	return string(b)
}

func (s suite) want(t *testing.T, name, content string) {
	t.Helper()
	if got := s.read(t, name); got != content {
		t.Errorf("%s: %q, want %q", name, got, content)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
