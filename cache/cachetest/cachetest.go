// Package cachetest holds what every backend of rpc-repo must do, as one suite of tests.
package cachetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rcbops/rpcbuild/cache"
)

// TestBackend tests that r reads what w wrote. For a backend that reads and writes, they are the
// same. The tree must be empty.
func TestBackend(t *testing.T, w cache.Writer, r cache.Backend) {
	s := suite{w, r}
	t.Run("absent", s.absent)
	t.Run("create", s.create)
	t.Run("replace", s.replace)
	t.Run("put", s.put)
	t.Run("changed", s.changed)
	t.Run("remove", s.remove)
	t.Run("list", s.list)
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

// put: after Flush, each has its name, the last one's content, and Link finds it.
func (s suite) put(t *testing.T) {
	ctx := t.Context()
	for i := range 30 {
		must(t, s.w.Put(ctx, fmt.Sprintf("put/%d/file", i), strings.NewReader(fmt.Sprint("content ", i))))
	}
	must(t, s.w.Flush(ctx))
	must(t, s.w.Put(ctx, "put/7/file", strings.NewReader("content 7, mended")))
	must(t, s.w.Flush(ctx))
	s.want(t, "put/29/file", "content 29")
	s.want(t, "put/7/file", "content 7, mended")
	must(t, s.w.Link(ctx, "put/link", "put/29/file", false))
	s.want(t, "put/link", "content 29")
}

// changed: who has read a file is told that it is the same, and of each change, however fast.
func (s suite) changed(t *testing.T) {
	ctx := t.Context()
	if _, _, err := s.r.GetChanged(ctx, "changed", ""); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("get changed: %v, want fs.ErrNotExist", err)
	}
	tag := ""
	for _, content := range []string{"first", "other", "third"} {
		must(t, s.w.Replace(ctx, "changed", strings.NewReader(content)))
		body, next, err := s.r.GetChanged(ctx, "changed", tag)
		if err != nil {
			t.Fatalf("get changed, after a change: %v", err)
		}
		b, err := io.ReadAll(body)
		if err := errors.Join(err, body.Close()); err != nil || string(b) != content {
			t.Errorf("get changed: %q, %v, want %q", b, err, content)
		}
		if next == "" {
			t.Fatal("get changed: no tag")
		}
		if _, _, err := s.r.GetChanged(ctx, "changed", next); !errors.Is(err, cache.ErrNotChanged) {
			t.Errorf("get changed: %v, want ErrNotChanged", err)
		}
		tag = next
	}
}

func (s suite) remove(t *testing.T) {
	ctx := t.Context()
	must(t, s.w.Create(ctx, "remove/one", strings.NewReader("1")))
	must(t, s.w.Link(ctx, "remove/other", "remove/one", false))
	for range 2 {
		must(t, s.w.Remove(ctx, "remove/one"))
	}
	must(t, s.w.Flush(ctx))
	if _, err := s.r.Stat(ctx, "remove/one"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("stat what was removed: %v, want fs.ErrNotExist", err)
	}
	s.want(t, "remove/other", "1")
	must(t, s.w.Create(ctx, "remove/one", strings.NewReader("new")))
	s.want(t, "remove/one", "new")
}

func (s suite) list(t *testing.T) {
	ctx := t.Context()
	names := []string{"list/a", "list/b/c", "list/b/d+e f", "listed"}
	for _, name := range names {
		must(t, s.w.Create(ctx, name, strings.NewReader(name)))
	}
	must(t, s.w.Flush(ctx))
	var got []string
	must(t, s.w.List(ctx, "list", func(f cache.FileInfo) error {
		got = append(got, f.Path)
		if f.Size != int64(len(f.Path)) || time.Since(f.Time).Abs() > time.Hour {
			t.Errorf("list: %+v", f)
		}
		return nil
	}))
	slices.Sort(got)
	if !slices.Equal(got, names[:3]) {
		t.Errorf("list: %q, want %q", got, names[:3])
	}
	must(t, s.w.List(ctx, "list/none", func(f cache.FileInfo) error { return errors.New("a file in no folder") }))
	oops := errors.New("oops")
	if err := s.w.List(ctx, "list", func(cache.FileInfo) error { return oops }); !errors.Is(err, oops) {
		t.Errorf("list: %v, want the callback's error", err)
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
		if err := s.w.Put(t.Context(), name, strings.NewReader("x")); err == nil {
			t.Errorf("put %q: want a refusal", name)
		}
		if err := s.w.Remove(t.Context(), name); err == nil {
			t.Errorf("remove %q: want a refusal", name)
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
