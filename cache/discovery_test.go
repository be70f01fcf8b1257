package cache_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rcbops/rpcbuild/cache"
	"github.com/rcbops/rpcbuild/store"
	"github.com/rcbops/rpcbuild/store/signature"
)

// counting serves a repo's folder and notes what is asked for.
type counting struct {
	http.Handler
	mu    sync.Mutex
	asked []string
}

func (c *counting) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	c.mu.Lock()
	c.asked = append(c.asked, strings.TrimPrefix(req.URL.Path, "/cache/v1/"))
	c.mu.Unlock()
	c.Handler.ServeHTTP(w, req)
}

// take returns what was asked for since the last time.
func (c *counting) take() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	asked := c.asked
	c.asked = nil
	return asked
}

func serveCounting(t *testing.T, dir string) (*counting, string) {
	t.Helper()
	s, err := cache.NewServer(dir)
	if err != nil {
		t.Fatal(err)
	}
	c := &counting{Handler: s}
	srv := httptest.NewServer(c)
	t.Cleanup(func() { srv.Close(); s.Close() })
	return c, srv.URL
}

// many is a release of n small artifacts.
func many(t *testing.T, st *store.Store, n int) cache.Release {
	t.Helper()
	rel := cache.Release{Name: "many", Lock: []byte("l")}
	for i := range n {
		rel.Items = append(rel.Items, add(t, st, fmt.Sprint("wheel/", i), "a", map[string]string{"f": fmt.Sprint("content ", i)}, store.Manifest{}))
	}
	return rel
}

// A verify of a release of 500 artifacts asks three requests, and later ones one; what is new costs
// what is new.
func TestFewRequests(t *testing.T) {
	dir, st, known := t.TempDir(), openStore(t), t.TempDir()
	rel := many(t, st, 500)
	w := openRepo(t, dir, cache.Options{Dir: t.TempDir()})
	push(t, w, st, cache.Release{Name: rel.Name, Lock: rel.Lock, Items: rel.Items[:300]}, cache.PushOptions{})
	push(t, w, st, cache.Release{Name: rel.Name, Lock: rel.Lock, Items: rel.Items[300:]}, cache.PushOptions{}) // another job's part
	server, url := serveCounting(t, dir)
	drvs := make([]store.DrvID, len(rel.Items))
	for i, it := range rel.Items {
		drvs[i] = it.Drv
	}
	verify := func(want int) {
		t.Helper()
		r := openRepo(t, url, cache.Options{Dir: known})
		found, err := r.Lookup(t.Context(), drvs)
		if err != nil || len(found) != len(drvs) {
			t.Fatalf("lookup: %d found, %v", len(found), err)
		}
		asked := server.take()
		if len(asked) > want {
			t.Errorf("%d requests, want at most %d: %q", len(asked), want, asked)
		}
	}
	verify(3)
	verify(1)
	r := openRepo(t, url, cache.Options{Dir: known})
	if _, err := r.Lookup(t.Context(), []store.DrvID{store.HashDrv([]byte("new"))}); err != nil {
		t.Fatal(err)
	}
	if asked := server.take(); len(asked) != 1 || asked[0] != "current" {
		t.Errorf("a miss asks for %q, want the pointer alone", asked)
	}

	// The small things of a whole release are a few requests, too.
	to := openStore(t)
	if _, err := r.Pull(t.Context(), to, rel, nil); err != nil {
		t.Fatal(err)
	}
	var other []string
	for _, name := range server.take() {
		if !strings.HasPrefix(name, "chunk/") {
			other = append(other, name)
		}
	}
	if len(other) > 4 {
		t.Errorf("a pull asks for %d files beside chunks: %q", len(other), other)
	}
	if stats := push(t, w, st, rel, cache.PushOptions{}); stats.Files != 0 {
		t.Errorf("push again: %+v", stats)
	}
}

// rootfs is a root file system of megabytes that does not compress, and one that differs in the middle.
func rootfs(seed uint64, size int) []byte {
	r := rand.New(rand.NewPCG(seed, 0))
	b := make([]byte, size)
	for i := 0; i+8 <= size; i += 8 {
		binary.LittleEndian.PutUint64(b[i:], r.Uint64())
	}
	return b
}

// Two containers cost one base, to push and to pull, in one process or in two.
func TestShare(t *testing.T) {
	base := rootfs(1, 24<<20)
	changed := append(append(append([]byte(nil), base[:10<<20]...), "a package moved"...), base[10<<20+100:]...)
	dir, st := t.TempDir(), openStore(t)
	rel := cache.Release{Name: "r", Lock: []byte("l"), Items: []cache.Item{
		add(t, st, "container/a", "a", map[string]string{"rootfs.tar": string(base)}, store.Manifest{}),
	}}
	all := rel
	all.Items = append(all.Items, add(t, st, "container/b", "a", map[string]string{"rootfs.tar": string(changed)}, store.Manifest{}))
	w := openRepo(t, dir, cache.Options{})
	first := push(t, w, st, rel, cache.PushOptions{})
	if first.Bytes < 24<<20 {
		t.Errorf("the first push: %+v", first)
	}
	if second := push(t, w, st, all, cache.PushOptions{}); second.Bytes > 2<<20 {
		t.Errorf("of a root file system that differs in a few bytes, %d were pushed", second.Bytes)
	}
	url := serve(t, dir)
	pull := func(r *cache.Repo, to *store.Store, rel cache.Release) int64 {
		t.Helper()
		stats, err := r.Pull(t.Context(), to, rel, nil)
		if err != nil {
			t.Fatal(err)
		}
		wantSame(t, st, to, rel.Items)
		return stats.Bytes
	}
	if n := pull(openRepo(t, url, cache.Options{}), openStore(t), all); n > 26<<20 {
		t.Errorf("both together: %d bytes came", n)
	}
	to, known := openStore(t), t.TempDir()
	pull(openRepo(t, url, cache.Options{Dir: known}), to, rel)
	if n := pull(openRepo(t, url, cache.Options{Dir: known}), to, all); n > 2<<20 {
		t.Errorf("the second, by another process: %d bytes came", n)
	}
}

// A pull that was killed is carried on by the next process: what came of a large file stays, of one in a
// stream and of one that is published.
func TestPullCarriesOn(t *testing.T) {
	content := rootfs(2, 24<<20)
	for name, m := range map[string]store.Manifest{
		"stream":    {},
		"published": {Publish: []store.Publication{{Path: "images/rootfs.tar", File: "rootfs.tar"}}},
	} {
		t.Run(name, func(t *testing.T) {
			dir, st := t.TempDir(), openStore(t)
			rel := cache.Release{Name: "r", Lock: []byte("l"), Items: []cache.Item{
				add(t, st, "container/a", "a", map[string]string{"rootfs.tar": string(content)}, m),
			}}
			push(t, openRepo(t, dir, cache.Options{}), st, rel, cache.PushOptions{})
			blob := store.HashBlob(content)
			for name, begun := range map[string]struct {
				bytes []byte
				most  int64
			}{
				"most of it":  {content[:20<<20], 6 << 20},
				"all of it":   {content, 1 << 20},
				"other bytes": {append([]byte("wrong"), content[5:20<<20]...), 32 << 20},
			} {
				to := openStore(t)
				if err := os.WriteFile(to.PartialPath(blob), begun.bytes, 0o644); err != nil {
					t.Fatal(err)
				}
				stats, err := openRepo(t, serve(t, dir), cache.Options{}).Pull(t.Context(), to, rel, nil)
				if err != nil || stats.Bytes > begun.most {
					t.Errorf("%s: %+v, %v, want at most %d bytes", name, stats, err, begun.most)
				}
				wantSame(t, st, to, rel.Items)
			}
		})
	}
}

func newKey(t *testing.T) *signature.Key {
	t.Helper()
	k, err := signature.Generate(filepath.Join(t.TempDir(), "key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func trust(t *testing.T, threshold int, keys ...*signature.Key) *signature.Trust {
	t.Helper()
	var public []signature.PublicKey
	for _, k := range keys {
		public = append(public, k.Public())
	}
	tr, err := signature.NewTrust(threshold, public...)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

// signed adds to st what key's owner says of the items.
func signed(t *testing.T, st *store.Store, key *signature.Key, items []cache.Item) {
	t.Helper()
	for _, it := range items {
		r, err := st.Realisation(it.Drv, it.Artifact)
		if err == nil {
			err = st.AddRealisation(r, key)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// Whose word counts: who built, for artifacts; who pushed, for what there is.
func TestTrust(t *testing.T) {
	ours, other := newKey(t), newKey(t)
	dir, st := t.TempDir(), openStore(t)
	rel := sample(t, st)
	signed(t, st, other, rel.Items)
	push(t, openRepo(t, dir, cache.Options{Key: other}), st, rel, cache.PushOptions{})
	url := serve(t, dir)
	read := func(tr *signature.Trust) error {
		r := openRepo(t, url, cache.Options{Trust: tr})
		found, err := r.Lookup(t.Context(), []store.DrvID{rel.Items[0].Drv})
		if err == nil && len(found) == 0 {
			err = store.ErrNotFound
		}
		return err
	}
	var untrusted *signature.UntrustedError
	if err := read(trust(t, 1, ours)); !errors.As(err, &untrusted) || !strings.Contains(err.Error(), other.Public().String()) {
		t.Errorf("an unknown signer: %v, want a refusal that names it", err)
	}
	if err := read(trust(t, 1, ours, other)); err != nil {
		t.Errorf("one of two: %v", err)
	}
	if err := read(trust(t, 2, ours, other)); !errors.As(err, &untrusted) {
		t.Errorf("two of two, and one signed: %v", err)
	}
	// Another builder comes to the same, and pushes.
	second := openStore(t)
	same := sample(t, second)
	signed(t, second, ours, same.Items)
	push(t, openRepo(t, dir, cache.Options{Key: ours}), second, same, cache.PushOptions{})
	if err := read(trust(t, 2, ours, other)); err != nil {
		t.Errorf("two of two, and both signed: %v", err)
	}
	if err := read(trust(t, 1, ours)); err != nil {
		t.Errorf("one of one: %v", err)
	}
}

// An old answer is refused, by every process that knows a newer one.
func TestReplay(t *testing.T) {
	for _, file := range []string{"current", "release/r1.0.0"} {
		dir, st, known := t.TempDir(), openStore(t), t.TempDir()
		r := openRepo(t, dir, cache.Options{})
		first := sample(t, st)
		push(t, r, st, first, cache.PushOptions{})
		old := read(t, dir, "cache/v1", file)
		second := other(t, st, first, "two")
		push(t, r, st, second, cache.PushOptions{})
		url := serve(t, dir)
		see := func() error {
			reader := openRepo(t, url, cache.Options{Dir: known})
			_, err := reader.Lookup(t.Context(), []store.DrvID{store.HashDrv([]byte("unknown"))})
			if err == nil {
				_, err = reader.Release(t.Context(), first.Name)
			}
			return err
		}
		if err := see(); err != nil {
			t.Fatal(err)
		}
		change(t, filepath.Join(dir, "cache/v1", file), func(string) string { return old })
		soon := time.Now().Add(time.Minute) // else the server may say that nothing changed
		if err := os.Chtimes(filepath.Join(dir, "cache/v1", file), soon, soon); err != nil {
			t.Fatal(err)
		}
		var wrong *cache.WrongError
		if err := see(); !errors.As(err, &wrong) || !strings.Contains(err.Error(), "old one is played again") {
			t.Errorf("%s: %v, want a refusal", file, err)
		}
	}
}

// A generation that is pointed at again, under a higher number, while a push is under way does not lead
// that push back to the number before.
func TestSequence(t *testing.T) {
	dir, st := t.TempDir(), openStore(t)
	first := sample(t, st)
	slow, reader := openRepo(t, dir, cache.Options{Key: newKey(t)}), openRepo(t, dir, cache.Options{})
	push(t, slow, st, first, cache.PushOptions{})
	see := func() {
		if _, err := reader.Lookup(t.Context(), []store.DrvID{store.HashDrv([]byte("unknown"))}); err != nil {
			t.Error(err)
		}
	}
	var once sync.Once
	push(t, slow, st, other(t, st, first, "two"), cache.PushOptions{Progress: func(int64) {
		once.Do(func() {
			push(t, openRepo(t, dir, cache.Options{Key: newKey(t)}), st, first, cache.PushOptions{})
			see()
		})
	}})
	see()
}
