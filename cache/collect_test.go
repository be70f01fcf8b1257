package cache_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rcbops/rpcbuild/cache"
	"github.com/rcbops/rpcbuild/store"
)

const week = 7 * 24 * time.Hour

// other is a release under the same name and with another lock: of one artifact of sample, and one of
// its own.
func other(t *testing.T, st *store.Store, rel cache.Release, lock string) cache.Release {
	t.Helper()
	return cache.Release{Name: rel.Name, Lock: []byte(lock), Items: []cache.Item{
		rel.Items[0],
		add(t, st, "image/"+lock, "a", map[string]string{"rootfs.tar.xz": lock, "hidden": strings.Repeat(lock, 100)}, store.Manifest{
			Publish: []store.Publication{{Path: "lxc-images/debian/" + lock + "/rootfs.tar.xz", File: "rootfs.tar.xz"}},
			Lines:   []store.Line{{File: "meta/1.0/index-system", Key: "debian;" + lock, Line: "debian;" + lock + ";1;/lxc-images/debian/"}},
		}),
	}}
}

func collect(t *testing.T, r *cache.Repo, keep int, after time.Duration) cache.CollectStats {
	t.Helper()
	stats, err := r.Collect(t.Context(), cache.CollectOptions{Keep: keep, Now: time.Now().Add(after)})
	if err != nil {
		t.Fatal(err)
	}
	return stats
}

// What no release names goes: first from the list, and after its grace all of it; what others need stays.
func TestCollect(t *testing.T) {
	dir, st := t.TempDir(), openStore(t)
	r := openRepo(t, dir, cache.Options{Dir: t.TempDir()})
	first := sample(t, st)
	push(t, r, st, first, cache.PushOptions{})
	second := other(t, st, first, "two")
	push(t, r, st, second, cache.PushOptions{})
	wantAll(t, r, first)

	if got := collect(t, r, 2, 0); got.Live != 5 || got.Buried != 0 || got.Removed != 0 {
		t.Errorf("keep 2 locks: %+v, want 5 alive", got)
	}
	dry, err := r.Collect(t.Context(), cache.CollectOptions{Keep: 1, DryRun: true})
	if err != nil || dry.Live != 2 || dry.Buried != 3 {
		t.Errorf("dry run: %+v, %v, want 2 alive and 3 not", dry, err)
	}
	wantAll(t, r, first)
	if got := collect(t, r, 1, 0); got.Live != 2 || got.Buried != 3 || got.Removed != 0 {
		t.Errorf("keep 1 lock: %+v, want 2 alive and 3 off the list", got)
	}
	reader := openRepo(t, serve(t, dir), cache.Options{})
	if _, err := reader.Fetch(t.Context(), first.Items[1].Artifact, openStore(t), nil); err != nil {
		t.Errorf("in its grace, an artifact that is off the list is not readable: %v", err)
	}
	got := collect(t, r, 1, week+time.Hour)
	if got.Removed != 3 || got.Files == 0 || got.Bytes == 0 {
		t.Errorf("after the grace: %+v, want 3 removed", got)
	}
	wantAll(t, r, second)
	if lines := read(t, dir, "meta/1.0/index-system"); lines != "debian;two;1;/lxc-images/debian/\n" {
		t.Errorf("index: %q", lines)
	}
	for _, name := range []string{"os-releases/r1.0.0/MANIFEST.in", "lxc-images/debian/1/rootfs.tar.xz", "cache/v1/artifact/" + first.Items[1].Artifact.String()} {
		if _, err := os.Lstat(filepath.Join(dir, name)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is still there: %v", name, err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "pools/debian-13-x86_64/x/x.whl")); err != nil {
		t.Errorf("what the second release needs, too: %v", err)
	}
	push(t, r, st, first, cache.PushOptions{}) // from nothing
	wantAll(t, r, first)
}

// A push of what is off the list puts it back, with nothing uploaded, and a gc then leaves it alone.
func TestResurrect(t *testing.T) {
	dir, st := t.TempDir(), openStore(t)
	r := openRepo(t, dir, cache.Options{})
	first := sample(t, st)
	push(t, r, st, first, cache.PushOptions{})
	push(t, r, st, other(t, st, first, "two"), cache.PushOptions{})
	collect(t, r, 1, 0)
	if stats := push(t, r, st, first, cache.PushOptions{}); stats.Artifacts != 3 || stats.Bytes != 0 {
		t.Errorf("push again: %+v, want 3 artifacts and no bytes", stats)
	}
	if got := collect(t, r, 1, week+time.Hour); got.Removed != 0 {
		t.Errorf("gc: %+v, want the pushed ones alive", got)
	}
	wantAll(t, r, first)
}

// Nothing is removed where what is alive is not known for sure.
func TestCollectUnsure(t *testing.T) {
	for _, lost := range []string{"release/r1.0.0", "artifact/*", "current", "generation/*", "tombstones"} {
		dir, st := t.TempDir(), openStore(t)
		r := openRepo(t, dir, cache.Options{})
		first := sample(t, st)
		push(t, r, st, first, cache.PushOptions{})
		push(t, r, st, other(t, st, first, "two"), cache.PushOptions{})
		collect(t, r, 1, 0)
		change(t, filepath.Join(dir, "cache/v1", lost), func(string) string { return "damaged" })
		before := tree(t, dir)
		again := openRepo(t, dir, cache.Options{})
		if _, err := again.Collect(t.Context(), cache.CollectOptions{Keep: 1, Now: time.Now().Add(2 * week)}); err == nil {
			t.Errorf("%s is damaged: gc returns no error", lost)
		}
		after := tree(t, dir)
		for name := range before {
			if _, ok := after[name]; !ok {
				t.Errorf("%s is damaged: gc removed %s", lost, name)
			}
		}
	}
}

// Whatever is damaged is found, and put back from a store that has it.
func TestRepair(t *testing.T) {
	flip := func(b string) string {
		if b == "" {
			return "x"
		}
		return b[:len(b)/2] + string(b[len(b)/2]^1) + b[len(b)/2+1:]
	}
	for _, glob := range []string{"blob/*", "chunk/*", "artifact/*", "content/*", "cuts/*", "derivation/*", "realisation/*/*", "bundle/*", "generation/*", "current", "index/*/*/*"} {
		t.Run(strings.ReplaceAll(glob, "/", " "), func(t *testing.T) {
			dir, st := t.TempDir(), openStore(t)
			r := openRepo(t, dir, cache.Options{Dir: t.TempDir()})
			rel := sample(t, st)
			rel.Items = append(rel.Items, images(t, st, rel.Name, noise(1, 9<<20)).Items...)
			push(t, r, st, rel, cache.PushOptions{})
			names, err := filepath.Glob(filepath.Join(dir, "cache/v1", glob))
			if err != nil || len(names) == 0 {
				t.Fatal(names, err)
			}
			change(t, names[0], flip)
			again := openRepo(t, dir, cache.Options{Dir: t.TempDir()})
			items, err := again.Items(t.Context())
			if err == nil {
				verdicts, checkErr := again.Check(t.Context(), items, true)
				if checkErr != nil {
					t.Fatal(checkErr)
				}
				err = errors.New("found")
				for _, v := range verdicts {
					if v.State != cache.Present {
						err = nil
					}
				}
				if err != nil {
					t.Fatal("a flipped bit was not found")
				}
			}
			if _, err := again.Repair(t.Context(), st, cache.PushOptions{}); err != nil {
				t.Fatal(err)
			}
			wantAll(t, openRepo(t, dir, cache.Options{}), rel)
			wantAll(t, r, rel) // whoever knew it before goes on
		})
	}
}

// Where the locks that gc would keep take too much room, the oldest go first, over all releases, and never the
// newest one of a release.
func TestCollectMaxSize(t *testing.T) {
	dir, st := t.TempDir(), openStore(t)
	r := openRepo(t, dir, cache.Options{})
	const mb = 1 << 20
	var locks []cache.Release // in order of time
	for i, name := range []string{"r1", "r2", "r1", "r2", "r1"} {
		rel := images(t, st, fmt.Sprintf("%s.%d", name, i), noise(byte(i), mb))
		rel.Name = name
		push(t, r, st, rel, cache.PushOptions{})
		locks = append(locks, rel)
		time.Sleep(20 * time.Millisecond) // files tell the order
	}
	collect := func(size int64, after time.Duration) cache.CollectStats {
		t.Helper()
		got, err := r.Collect(t.Context(), cache.CollectOptions{Keep: 3, MaxSize: size, Now: time.Now().Add(after)})
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	if got := collect(6*mb, 0); got.Live != 5 || got.Dropped != 0 || got.Over != 0 || got.Size < 5*mb || got.Size > 6*mb {
		t.Errorf("room for all: %+v, want 5 alive", got)
	}
	if got := collect(4*mb, 0); got.Live != 3 || got.Dropped != 2 || got.Over != 0 || got.Size < 3*mb || got.Size > 4*mb {
		t.Errorf("room for 3: %+v, want 3 alive, without the 2 oldest locks", got)
	}
	wantAll(t, r, locks[2])
	if got := collect(mb, 2*week); got.Live != 2 || got.Over < mb || got.Over > 2*mb {
		t.Errorf("room for 1: %+v, want the newest ones of both releases alive, and told that they are too much", got)
	}
	wantAll(t, r, locks[3])
	wantAll(t, r, locks[4])
	verdicts, err := r.Check(t.Context(), locks[2].Items, false)
	if err != nil || verdicts[0].State != cache.Missing {
		t.Errorf("what is too old: %v, %v, want it missing", verdicts, err)
	}
}
