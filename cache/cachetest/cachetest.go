// Package cachetest holds what every backend of rpc-repo must do, as one suite of tests.
package cachetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rcbops/rpcbuild/cache"
)

// TestBackend tests that r reads what w wrote. For a backend that reads and writes, they are the
// same. other is another writer to the same tree, as another machine has it. The tree must be empty.
func TestBackend(t *testing.T, w, other cache.Writer, r cache.Backend) {
	s := suite{w, other, r}
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
	t.Run("race", s.race)
	t.Run("names", s.names)
	t.Run("characters", s.characters)
	t.Run("interrupted", s.interrupted)
	t.Run("given up", s.givenUp)
	t.Run("large", s.large)
	t.Run("assemble", s.assemble)
	t.Run("range", s.ranges)
	t.Run("many", s.many)
}

type suite struct {
	w, other cache.Writer
	r        cache.Backend
}

// writer returns the two writers by turns.
func (s suite) writer(i int) cache.Writer {
	return []cache.Writer{s.w, s.other}[i%2]
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

// update: no line of many updaters on two machines is lost.
func (s suite) update(t *testing.T) {
	const updaters = 20
	var wg sync.WaitGroup
	for i := range updaters {
		wg.Go(func() {
			err := s.writer(i).Update(t.Context(), "index/file", 1<<20, func(old []byte) ([]byte, error) {
				return fmt.Appendf(slices.Clone(old), "line %d\n", i), nil
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

// race: of several that create one file, one does, and it is whole.
func (s suite) race(t *testing.T) {
	for round := range 5 {
		name := fmt.Sprintf("race/%d", round)
		var wg sync.WaitGroup
		var mu sync.Mutex
		var made []string
		for i := range 6 {
			content := strings.Repeat(fmt.Sprint(i), 50_000)
			wg.Go(func() {
				err := s.writer(i).Create(t.Context(), name, strings.NewReader(content))
				if err != nil && !errors.Is(err, fs.ErrExist) {
					t.Error(err)
				}
				if err == nil {
					mu.Lock()
					made = append(made, content)
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		if len(made) != 1 {
			t.Fatalf("%d of those that created %s succeeded, want one", len(made), name)
		}
		if s.read(t, name) != made[0] {
			t.Errorf("%s is not what its creator wrote", name)
		}
	}
}

// characters: a name is what it is, whatever it means in a URL or to a shell.
func (s suite) characters(t *testing.T) {
	ctx := t.Context()
	names := []string{"x_1.0~rc1+dfsg-1_all.deb", "with space", "a%2fb", "q?a=b&c#d", "it's \"quoted\"", "é-ü-漢", "$(x);*[a]", ".hidden"}
	for _, name := range names {
		must(t, s.w.Create(ctx, "characters/"+name, strings.NewReader(name)))
		must(t, s.w.Link(ctx, "linked/"+name, "characters/"+name, false))
		must(t, s.w.Symlink(ctx, "symlinked/"+name, "characters/"+name, false))
	}
	must(t, s.w.Flush(ctx))
	for _, name := range names {
		if _, ok := s.r.(cache.Writer); !ok && name[0] == '.' {
			continue // a server may hide it
		}
		for _, dir := range []string{"characters/", "linked/", "symlinked/"} {
			s.want(t, dir+name, name)
		}
	}
	var got []string
	must(t, s.w.List(ctx, "characters", func(f cache.FileInfo) error {
		got = append(got, strings.TrimPrefix(f.Path, "characters/"))
		return nil
	}))
	slices.Sort(got)
	slices.Sort(names)
	if !slices.Equal(got, names) {
		t.Errorf("list: %q, want %q", got, names)
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

// givenUp: a large file that ends in an error, or whose writer is told to stop, leaves nothing, and
// what it was to replace stays.
func (s suite) givenUp(t *testing.T) {
	must(t, s.w.Create(t.Context(), "given up/old", strings.NewReader("old")))
	must(t, s.w.Flush(t.Context()))
	before := s.all(t)
	for name, write := range map[string]func(context.Context, string, io.Reader) error{
		"create": s.w.Create, "replace": s.w.Replace, "put": s.w.Put,
	} {
		for _, path := range []string{"given up/new", "given up/old"} {
			if name == "create" && path == "given up/old" {
				continue
			}
			oops := errors.New("oops")
			content := io.MultiReader(bytes.NewReader(noise(11<<20)), failing{oops})
			if err := write(t.Context(), path, content); !errors.Is(err, oops) {
				t.Errorf("%s: %v, want the reader's error", name, err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			content = io.MultiReader(bytes.NewReader(noise(9<<20)), calling{cancel}, bytes.NewReader(noise(9<<20)))
			if err := write(ctx, path, content); !errors.Is(err, context.Canceled) {
				t.Errorf("%s: %v, want the context's error", name, err)
			}
			cancel()
		}
	}
	must(t, s.w.Flush(t.Context()))
	s.want(t, "given up/old", "old")
	if after := s.all(t); !slices.Equal(after, before) {
		t.Errorf("of %d files became %d: %q", len(before), len(after), after)
	}
}

// all lists the whole tree.
func (s suite) all(t *testing.T) (names []string) {
	t.Helper()
	must(t, s.w.List(t.Context(), ".", func(f cache.FileInfo) error {
		names = append(names, f.Path)
		return nil
	}))
	slices.Sort(names)
	return names
}

func (s suite) large(t *testing.T) {
	content := noise(12 << 20)
	must(t, s.w.Create(t.Context(), "large", bytes.NewReader(content)))
	must(t, s.w.Put(t.Context(), "large put", io.MultiReader(bytes.NewReader(content)))) // of no known size
	must(t, s.w.Flush(t.Context()))
	must(t, s.w.Link(t.Context(), "large link", "large", false))
	must(t, s.w.Link(t.Context(), "large link", "large put", false))
	for _, name := range []string{"large", "large put", "large link"} {
		if s.read(t, name) != string(content) {
			t.Errorf("%s came back as another", name)
		}
	}
	if err := s.w.Create(t.Context(), "large", bytes.NewReader(content)); !errors.Is(err, fs.ErrExist) {
		t.Errorf("create again: %v, want fs.ErrExist", err)
	}
}

// ranges: any part of a file comes as it is.
func (s suite) ranges(t *testing.T) {
	content := noise(5 << 20)
	must(t, s.w.Put(t.Context(), "range/file", bytes.NewReader(content)))
	must(t, s.w.Flush(t.Context()))
	for _, part := range [][2]int{{0, 1}, {0, 5 << 20}, {4096, 70000}, {2<<20 - 1, 3 << 20}, {5<<20 - 1, 1}} {
		offset, size := part[0], part[1]
		body, err := s.r.GetRange(t.Context(), "range/file", int64(offset), int64(size))
		if err != nil {
			t.Fatalf("get %d bytes at %d: %v", size, offset, err)
		}
		got, err := io.ReadAll(body)
		if err := errors.Join(err, body.Close()); err != nil || !bytes.Equal(got, content[offset:offset+size]) {
			t.Errorf("get %d bytes at %d: %d others, %v", size, offset, len(got), err)
		}
	}
	body, err := s.r.GetRange(t.Context(), "range/file", 6<<20, 10)
	if err == nil {
		var got []byte
		got, err = io.ReadAll(body)
		if err = errors.Join(err, body.Close()); err == nil && len(got) == 0 {
			err = cache.ErrShort
		}
	}
	if !errors.Is(err, cache.ErrShort) || errors.Is(err, cache.ErrUnreachable) {
		t.Errorf("get what is behind the end: %v, want cache.ErrShort, or nothing", err)
	}
	if _, err := s.r.GetRange(t.Context(), "range/none", 0, 1); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("get a range: %v, want fs.ErrNotExist", err)
	}
}

// many: more files than a server names in one answer.
func (s suite) many(t *testing.T) {
	const files = 1050
	var wg sync.WaitGroup
	for i := range 10 {
		wg.Go(func() {
			for j := i; j < files; j += 10 {
				if err := s.w.Put(t.Context(), fmt.Sprintf("many/%d/%d", j%3, j), strings.NewReader("x")); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	must(t, s.w.Flush(t.Context()))
	seen := make(map[string]bool)
	must(t, s.other.List(t.Context(), "many", func(f cache.FileInfo) error {
		seen[f.Path] = true
		return nil
	}))
	if len(seen) != files {
		t.Errorf("list names %d files, want %d", len(seen), files)
	}
}

// noise returns bytes of which no two pieces are the same.
func noise(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}

// calling is no content, and calls f when it is read.
type calling struct{ f func() }

func (c calling) Read([]byte) (int, error) {
	c.f()
	return 0, io.EOF
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
		t.Errorf("%s: %.100q, want %.100q", name, got, content)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
