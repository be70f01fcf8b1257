package cache_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/rcbops/rpcbuild/cache"
	"github.com/rcbops/rpcbuild/store"
)

func TestPushAndPull(t *testing.T) {
	dir, st := t.TempDir(), openStore(t)
	rel := sample(t, st)
	r := openRepo(t, dir, cache.Options{})
	stats := push(t, r, st, rel, cache.PushOptions{})
	if stats.Artifacts != 4 || stats.Files != 5 || stats.Bytes > 60000 {
		t.Errorf("first push: %+v, want 4 artifacts of 5 files, compressed", stats)
	}
	wantAll(t, r, rel)
	again := push(t, openRepo(t, dir, cache.Options{}), st, rel, cache.PushOptions{})
	if want := (cache.PushStats{Present: 4}); again != want {
		t.Errorf("second push: %+v, want %+v", again, want)
	}

	for _, url := range []string{dir, serve(t, dir)} {
		from, to := openRepo(t, url, cache.Options{}), openStore(t)
		got, err := from.Release(t.Context(), "r1.0.0")
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(rel, got, cmpopts.IgnoreUnexported(rel), cmp.Comparer(func(a, b cache.Item) bool { return a == b })); diff != "" {
			t.Errorf("release: %s", diff)
		}
		pulled, err := from.Pull(t.Context(), to, got, nil)
		if err != nil {
			t.Fatal(err)
		}
		if pulled.Artifacts != 4 || pulled.Bytes != stats.Bytes {
			t.Errorf("pull: %+v, want 4 artifacts and the %d bytes that were pushed", pulled, stats.Bytes)
		}
		wantSame(t, st, to, rel.Items)
		if pulled, err = from.Pull(t.Context(), to, got, nil); err != nil || pulled.Present != 4 || pulled.Bytes != 0 {
			t.Errorf("pull again: %+v, %v, want 4 present", pulled, err)
		}
	}
}

// wantSame checks that both stores have the items, with all that is said of them.
func wantSame(t *testing.T, a, b *store.Store, items []cache.Item) {
	t.Helper()
	for _, it := range items {
		ra, errA := a.Statement(it.Drv, it.Artifact)
		rb, errB := b.Statement(it.Drv, it.Artifact)
		if errA != nil || errB != nil || string(ra.Encode()) != string(rb.Encode()) {
			t.Errorf("%s: statements %+v, %v and %+v, %v", it.Name, ra, errA, rb, errB)
		}
		da, errA := a.Derivation(it.Drv)
		db, errB := b.Derivation(it.Drv)
		if errA != nil || errB != nil || string(da) != string(db) {
			t.Errorf("%s: derivations %s, %v and %s, %v", it.Name, da, errA, db, errB)
		}
		m, err := b.Manifest(it.Artifact)
		if err != nil {
			t.Errorf("%s: %v", it.Name, err)
			continue
		}
		for _, e := range m.Entries {
			if _, err := b.ReadBlob(e.Blob()); err != nil {
				t.Errorf("%s: %s: %v", it.Name, e.Path, err)
			}
		}
	}
}

func TestLayout(t *testing.T) {
	dir, st := t.TempDir(), openStore(t)
	rel := sample(t, st)
	push(t, openRepo(t, dir, cache.Options{}), st, rel, cache.PushOptions{})

	wheel := filepath.Join(dir, "pools/debian-13-x86_64/x/x.whl")
	blob := filepath.Join(dir, "cache/v1/blob", store.HashBlob([]byte("wheel x")).Digest.Encoded())
	a, errA := os.Stat(wheel)
	b, errB := os.Stat(blob)
	local, errL := os.Stat(st.BlobPath(store.HashBlob([]byte("wheel x"))))
	if err := errors.Join(errA, errB, errL); err != nil {
		t.Fatal(err)
	}
	if !os.SameFile(a, b) {
		t.Error("published content is there twice")
	}
	if os.SameFile(a, local) {
		t.Error("the repo shares a file with the store: an edit there would damage it")
	}
	if link, err := os.Readlink(filepath.Join(dir, "links/debian-13-x86_64/x.whl")); err != nil || link != "../../pools/debian-13-x86_64/x/x.whl" {
		t.Errorf("link: %q, %v", link, err)
	}
	if got := read(t, dir, "meta/1.0/index-system"); got != "debian;base;1;/lxc-images/debian/1/\n" {
		t.Errorf("index: %q", got)
	}
	blobs, err := filepath.Glob(filepath.Join(dir, "cache/v1/blob/*"))
	if err != nil || len(blobs) != 3 {
		t.Errorf("%d contents, %v; want the three that are published", len(blobs), err)
	}
	temps, err := os.ReadDir(filepath.Join(dir, "cache/v1/.tmp"))
	if err != nil || len(temps) != 0 {
		t.Errorf("%d temporary files are left, %v", len(temps), err)
	}
}

func TestLookupAndFetch(t *testing.T) {
	dir, st := t.TempDir(), openStore(t)
	rel := sample(t, st)
	reader := openRepo(t, serve(t, dir), cache.Options{Dir: t.TempDir()})
	drvs := []store.DrvID{rel.Items[0].Drv, rel.Items[1].Drv, store.HashDrv([]byte("unknown"))}
	if found, err := reader.Lookup(t.Context(), drvs); err != nil || len(found) != 0 {
		t.Fatalf("lookup in an empty repo: %v, %v", found, err)
	}
	push(t, openRepo(t, dir, cache.Options{}), st, rel, cache.PushOptions{})
	found, err := reader.Lookup(t.Context(), drvs) // what was missing is not remembered
	if err != nil || len(found) != 2 || found[drvs[0]][0].Artifact != rel.Items[0].Artifact || found[drvs[0]][0].Builder != "a" {
		t.Fatalf("lookup: %v, %v", found, err)
	}
	to := openStore(t)
	if _, err := reader.Fetch(t.Context(), rel.Items[1].Artifact, to, nil); err != nil {
		t.Fatal(err)
	}
	if has, err := to.Has(rel.Items[1].Artifact); err != nil || !has {
		t.Errorf("after the fetch: %v, %v", has, err)
	}
	_, err = reader.Fetch(t.Context(), store.HashArtifact([]byte("none")), to, nil)
	if !errors.Is(err, store.ErrNotFound) {
		t.Errorf("fetch of what is not there: %v, want store.ErrNotFound", err)
	}
}

// Another artifact for one derivation is refused, and nothing changes.
func TestPushConflict(t *testing.T) {
	dir, first, second := t.TempDir(), openStore(t), openStore(t)
	rel := func(st *store.Store, builder, content string) cache.Release {
		return cache.Release{Name: "r1", Lock: []byte("l"), Items: []cache.Item{add(t, st, "venv/x", builder,
			map[string]string{"f": content}, store.Manifest{Publish: []store.Publication{{Path: "venvs/x", File: "f"}}})}}
	}
	r := openRepo(t, dir, cache.Options{})
	good, bad := rel(first, "builder-a", "one"), rel(second, "builder-b", "two")
	push(t, r, first, good, cache.PushOptions{})
	before := tree(t, dir)

	_, err := r.Push(t.Context(), second, bad, cache.PushOptions{})
	var conflict *store.ConflictError
	if !errors.As(err, &conflict) || !strings.Contains(err.Error(), "builder-a") || !strings.Contains(err.Error(), "builder-b") {
		t.Errorf("push: %v, want a conflict that names both builders", err)
	}
	if diff := cmp.Diff(before, tree(t, dir)); diff != "" {
		t.Errorf("the refused push changed the repo: %s", diff)
	}
	push(t, r, second, bad, cache.PushOptions{Replace: true})
	wantAll(t, openRepo(t, dir, cache.Options{}), bad)
	if got := read(t, dir, "venvs/x"); got != "two" {
		t.Errorf("after the replacement: %q", got)
	}
}

// Another derivation at a consumer's path is refused, too.
func TestPushOverPublished(t *testing.T) {
	dir, st := t.TempDir(), openStore(t)
	rel := func(name, content string) cache.Release {
		return cache.Release{Name: "r1", Lock: []byte("l"), Items: []cache.Item{add(t, st, name, "a",
			map[string]string{"f": content}, store.Manifest{Publish: []store.Publication{{Path: "venvs/x", File: "f"}}})}}
	}
	r := openRepo(t, dir, cache.Options{})
	push(t, r, st, rel("venv/1", "one"), cache.PushOptions{})
	before := tree(t, dir)
	_, err := r.Push(t.Context(), st, rel("venv/2", "two"), cache.PushOptions{})
	var published *cache.PublishedError
	if !errors.As(err, &published) || published.Path != "venvs/x" {
		t.Errorf("push: %v, want a refusal that names the path", err)
	}
	if diff := cmp.Diff(before, tree(t, dir)); diff != "" {
		t.Errorf("the refused push changed the repo: %s", diff)
	}
	push(t, r, st, rel("venv/3", "one"), cache.PushOptions{}) // the same content is no conflict
}

func TestPushRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		m    store.Manifest
		want string
	}{
		"reserved": {store.Manifest{Publish: []store.Publication{{Path: "cache/v1/current", File: "f"}}}, "keeps cache for itself"},
		"hidden":   {store.Manifest{Publish: []store.Publication{{Path: "a/.htaccess", File: "f"}}}, "dot in front"},
		"index":    {store.Manifest{Lines: []store.Line{{File: "cache/v1/current", Key: "k", Line: "l"}}}, "keeps cache for itself"},
		"dangling": {store.Manifest{Publish: []store.Publication{{Path: "a", Link: "b"}}}, "published by none"},
		"unsigned": {store.Manifest{Publish: []store.Publication{{Path: "Release", File: "f", Sign: store.SignRelease}}}, "GPG_PRIVATE"},
	} {
		t.Run(name, func(t *testing.T) {
			st, r := openStore(t), openRepo(t, t.TempDir(), cache.Options{})
			rel := cache.Release{Name: "r1", Items: []cache.Item{add(t, st, "x/x", "a", map[string]string{"f": "content"}, c.m)}}
			_, err := r.Push(t.Context(), st, rel, cache.PushOptions{})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("push: %v, want %q", err, c.want)
			}
			if v, err := r.Check(t.Context(), rel.Items, false); err != nil || v[0].State != cache.Missing {
				t.Errorf("after the refusal: %+v, %v, want missing", v, err)
			}
		})
	}
	st := openStore(t)
	rel := sample(t, st)
	if _, err := openRepo(t, serve(t, t.TempDir()), cache.Options{}).Push(t.Context(), st, rel, cache.PushOptions{}); err == nil {
		t.Error("a push over http is no error")
	}
	rel.Name = "../r"
	if _, err := openRepo(t, t.TempDir(), cache.Options{}).Push(t.Context(), st, rel, cache.PushOptions{}); err == nil {
		t.Error("a release name that leads elsewhere is no error")
	}
}

// An artifact that came from rpc-repo as a statement alone is pushed again without its content.
func TestPushWithoutContent(t *testing.T) {
	st, empty := openStore(t), openStore(t)
	rel := sample(t, st)
	for _, it := range rel.Items {
		s, err := st.Statement(it.Drv, it.Artifact)
		if err != nil {
			t.Fatal(err)
		}
		if err := empty.AddStatement(s); err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	r := openRepo(t, dir, cache.Options{})
	if _, err := r.Push(t.Context(), empty, rel, cache.PushOptions{}); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("push of what is nowhere: %v, want store.ErrNotFound", err)
	}
	push(t, r, st, rel, cache.PushOptions{})
	if err := os.Remove(filepath.Join(dir, "cache/v1/current")); err != nil {
		t.Fatal(err)
	}
	push(t, openRepo(t, dir, cache.Options{}), empty, rel, cache.PushOptions{})
	wantAll(t, openRepo(t, dir, cache.Options{}), rel)
}

// Two stages push their parts of one release.
func TestPushParts(t *testing.T) {
	dir, st := t.TempDir(), openStore(t)
	rel := sample(t, st)
	part := func(items []cache.Item) cache.Release {
		return cache.Release{Name: rel.Name, Lock: rel.Lock, Items: items}
	}
	r := openRepo(t, dir, cache.Options{})
	push(t, r, st, part(rel.Items[:2]), cache.PushOptions{})
	push(t, r, st, part(rel.Items[2:]), cache.PushOptions{})
	got, err := r.Release(t.Context(), rel.Name)
	if err != nil || len(got.Items) != 4 {
		t.Errorf("release: %+v, %v, want the items of both", got, err)
	}
	push(t, r, st, cache.Release{Name: rel.Name, Lock: []byte("lock: 2\n"), Items: rel.Items[:1]}, cache.PushOptions{})
	if got, err = r.Release(t.Context(), rel.Name); err != nil || len(got.Items) != 1 {
		t.Errorf("release with another lock: %+v, %v, want the new items alone", got, err)
	}
}

// A push that is interrupted at any time leaves nothing half there, and the next one carries on.
func TestPushInterrupted(t *testing.T) {
	st := openStore(t)
	rel := sample(t, st)
	rounds := 60
	if testing.Short() {
		rounds = 10
	}
	for i := range rounds {
		dir := t.TempDir()
		w := backend(t, dir).(cache.Writer)
		ctx, cancel := context.WithCancel(t.Context())
		r := cache.WithBackend(&interrupting{Writer: w, left: i, stop: cancel})
		_, err := r.Push(ctx, st, rel, cache.PushOptions{})
		cancel()
		reader := openRepo(t, dir, cache.Options{})
		verdicts, checkErr := reader.Check(t.Context(), rel.Items, false)
		if checkErr != nil {
			t.Fatal(checkErr)
		}
		var named []cache.Item
		for _, v := range verdicts {
			if v.State == cache.Present {
				named = append(named, v.Item)
			}
		}
		wantAll(t, reader, cache.Release{Items: named})
		push(t, openRepo(t, dir, cache.Options{}), st, rel, cache.PushOptions{})
		wantAll(t, reader, rel)
		if err == nil {
			return // the push had fewer steps than this
		}
	}
	if !testing.Short() {
		t.Error("no push came to its end: try more rounds")
	}
}

// interrupting ends its context after some operations, and fails from then on.
type interrupting struct {
	cache.Writer
	mu   sync.Mutex
	left int
	stop func()
}

func (b *interrupting) step() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.left == 0 {
		b.stop()
		return context.Canceled
	}
	b.left--
	return nil
}

// tree returns what is in a folder: the files' content and the links' targets, without what the lock
// and its folder are.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := make(map[string]string)
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if d.Type() == fs.ModeSymlink {
			all[name], err = os.Readlink(name)
			return err
		}
		b, err := os.ReadFile(name)
		all[name] = fmt.Sprintf("%d bytes, %s", len(b), store.HashBlob(b).Digest)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}
