package cachetest_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rcbops/rpcbuild/cache"
	"github.com/rcbops/rpcbuild/cache/cachetest"
	"github.com/rcbops/rpcbuild/store"
	"github.com/rcbops/rpcbuild/store/faulttest"
)

// collect removes what only earlier locks named, as a gc does so long after what is buried now.
func collect(dir string, after time.Duration) (err error) {
	r, err := cache.Open(filepath.Join(dir, "repo"), cache.Options{Dir: filepath.Join(dir, "known")})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	_, err = r.Collect(context.Background(), cache.CollectOptions{Keep: 1, Now: time.Now().Add(after)})
	return err
}

const afterGrace = 8 * 24 * time.Hour

// push pushes a release from the store in the folder.
func push(t *testing.T, dir string, rel cache.Release) {
	t.Helper()
	err := with(dir, func(st *store.Store, r *cache.Repo, _ cache.Release) error {
		_, err := r.Push(context.Background(), st, rel, cache.PushOptions{})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// bury makes an rpc-repo in which gc has all to do: of a release, the artifacts of two locks are to go, those of
// the third are to be taken off the list, and those of the last stay. It returns the second and the last.
func bury(t *testing.T, dir string) (second, last *sample) {
	t.Helper()
	second = fill(t, dir)
	st, err := store.Open(filepath.Join(dir, "store"))
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	lock := func(name string) *sample {
		s := &sample{Release: cache.Release{Name: "r1", Lock: []byte(name)}}
		s.Items, s.manifests = slices.Clone(second.Items[1:2]), slices.Clone(second.manifests[1:2]) // the chroot is in all
		s.add(t, st, "wheel/"+name, map[string][]byte{"a.whl": []byte(name)}, &store.Manifest{Publish: []store.Publication{
			{Path: "pools/debian/" + name + "/a.whl", File: "a.whl"},
			{Path: "links/debian/" + name + ".whl", Link: "pools/debian/" + name + "/a.whl"},
		}})
		s.add(t, st, "image/"+name, map[string][]byte{"rootfs.tar.xz": []byte("image " + name), "meta": []byte(name)}, &store.Manifest{
			Publish: []store.Publication{{Path: "images/" + name + "/rootfs.tar.xz", File: "rootfs.tar.xz"}},
			Lines:   []store.Line{{File: "images/index", Key: name, Line: name + ";images/" + name}},
		})
		return s
	}
	last = lock("last")
	for _, s := range []*sample{lock("first"), second, lock("third"), last} {
		push(t, dir, s.Release)
		if s == last {
			break
		}
		if err := collect(dir, 0); err != nil {
			t.Fatal(err)
		}
	}
	return second, last
}

// TestGC stops gc everywhere: what is listed is whole, what was removed can be pushed again, and the
// next gc leaves what one leaves that nobody stopped.
func TestGC(t *testing.T) {
	from := faulttest.Dir(t)
	second, last := bury(t, from)
	setup := func(t *testing.T) string {
		dir := faulttest.Dir(t)
		if out, err := exec.Command("cp", "-a", from+"/.", dir).CombinedOutput(); err != nil { // hard links, too
			t.Fatalf("%v\n%s", err, out)
		}
		return dir
	}
	manifests := append(slices.Clone(second.manifests), last.manifests...)
	carryOn := func(t *testing.T, dir string) {
		push(t, dir, second.Release)
		for range 2 { // the first keeps the list that was there before
			if err := collect(dir, afterGrace); err != nil {
				t.Errorf("again: %v", err)
			}
		}
	}
	undisturbed := setup(t)
	if err := collect(undisturbed, afterGrace); err != nil {
		t.Fatal(err)
	}
	carryOn(t, undisturbed)
	want := names(t, undisturbed)
	p := moving("gc", setup, func(t *testing.T, dir string) {
		repo := filepath.Join(dir, "repo")
		if err := cachetest.Audit(repo, manifests...); err != nil {
			t.Error(err)
		}
		if amiss, err := cachetest.Listed(t.Context(), repo, last.Items...); err != nil || len(amiss) > 0 {
			t.Error(amiss, err)
		}
		dayLater(t, repo)
		carryOn(t, dir)
		if err := cachetest.Audit(repo, manifests...); err != nil {
			t.Errorf("again: %v", err)
		}
		if amiss, err := cachetest.Listed(t.Context(), repo, second.Items...); err != nil || len(amiss) > 0 {
			t.Error("again:", amiss, err)
		}
		if got := names(t, dir); !slices.Equal(got, want) {
			t.Errorf("another gc left\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	})
	t.Run("Faults", func(t *testing.T) { p.TestFaults(t, 3) })
	t.Run("Killed", func(t *testing.T) { p.TestKilled(t, 40) })
}

// dayLater makes what a crash left in .tmp old enough to go.
func dayLater(t *testing.T, repo string) {
	t.Helper()
	left, err := filepath.Glob(filepath.Join(repo, "cache/v1/.tmp/*"))
	old := time.Now().Add(-25 * time.Hour)
	for _, name := range left {
		err = errors.Join(err, os.Chtimes(name, old, old))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// names are the files of an rpc-repo.
func names(t *testing.T, dir string) (names []string) {
	t.Helper()
	err := fs.WalkDir(os.DirFS(filepath.Join(dir, "repo")), ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			names = append(names, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}
