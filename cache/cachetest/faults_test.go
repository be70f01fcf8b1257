package cachetest_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rcbops/rpcbuild/cache"
	"github.com/rcbops/rpcbuild/cache/cachetest"
	"github.com/rcbops/rpcbuild/store"
	"github.com/rcbops/rpcbuild/store/faulttest"
	"github.com/rcbops/rpcbuild/store/storetest"
)

// TestMain lets this binary be the programs that push and pull.
func TestMain(m *testing.M) {
	faulttest.Main()
	if move := movers[os.Getenv("CACHETEST_MOVE")]; move != nil {
		if err := move(os.Args[1]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// movers work in a folder that has a store, an rpc-repo and a release's description.
var movers = map[string]func(dir string) error{
	"push": func(dir string) error {
		return with(dir, func(st *store.Store, r *cache.Repo, rel cache.Release) error {
			_, err := r.Push(context.Background(), st, rel, cache.PushOptions{})
			return err
		})
	},
	"gc": func(dir string) error { return collect(dir, afterGrace) },
	"pull": func(dir string) error {
		return with(dir, func(st *store.Store, r *cache.Repo, rel cache.Release) error {
			_, err := r.Pull(context.Background(), st, rel, nil)
			return err
		})
	},
}

func with(dir string, do func(*store.Store, *cache.Repo, cache.Release) error) (err error) {
	b, err := os.ReadFile(filepath.Join(dir, "release.json"))
	if err != nil {
		return err
	}
	var rel cache.Release
	if err := json.Unmarshal(b, &rel); err != nil {
		return err
	}
	st, err := store.Open(filepath.Join(dir, "store"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	r, err := cache.Open(filepath.Join(dir, "repo"), cache.Options{Create: true, Dir: filepath.Join(dir, "known")})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	return do(st, r, rel)
}

// moving is the program that a mover is.
func moving(name string, setup func(t *testing.T) string, after func(t *testing.T, dir string)) faulttest.Program {
	return faulttest.Program{
		Setup: setup,
		Command: func(ctx context.Context, dir string) *exec.Cmd {
			cmd := exec.CommandContext(ctx, os.Args[0], dir)
			cmd.Env = append(os.Environ(), "CACHETEST_MOVE="+name)
			return cmd
		},
		After: after,
	}
}

// A sample is a release with one of everything that is moved.
type sample struct {
	cache.Release
	manifests []*store.Manifest
}

func (s *sample) add(t *testing.T, st *store.Store, name string, files map[string][]byte, m *store.Manifest) {
	t.Helper()
	dir, err := st.TempDir("test")
	if err != nil {
		t.Fatal(err)
	}
	for file, content := range files {
		if err := os.WriteFile(filepath.Join(dir, file), content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	id, err := st.AddTree(t.Context(), dir, m)
	if err != nil {
		t.Fatal(err)
	}
	drv, err := st.PutDerivation(fmt.Appendf(nil, "{%q:%q}", "name", name))
	if err != nil {
		t.Fatal(err)
	}
	if err := st.AddRealisation(store.Realisation{Drv: drv, Artifact: id, Builder: "test", Size: m.Size()}, nil); err != nil {
		t.Fatal(err)
	}
	kind, _, _ := strings.Cut(name, "/")
	s.Items = append(s.Items, cache.Item{Name: name, Kind: kind, Drv: drv, Artifact: id})
	s.manifests = append(s.manifests, m)
}

// fill makes a folder for movers: a store that holds a release, and its description.
func fill(t *testing.T, dir string) *sample {
	t.Helper()
	st, err := store.Open(filepath.Join(dir, "store"))
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	rootfs := make([]byte, 1<<20) // some chunks
	rand.NewChaCha8([32]byte{}).Read(rootfs)
	s := &sample{Release: cache.Release{Name: "r1", Lock: []byte("lock: 1\n")}}
	s.add(t, st, "wheel/x", map[string][]byte{"x.whl": []byte("wheel x")}, &store.Manifest{Publish: []store.Publication{
		{Path: "pools/debian/x/x.whl", File: "x.whl"},
		{Path: "links/debian/x.whl", Link: "pools/debian/x/x.whl"},
	}})
	s.add(t, st, "chroot/base", map[string][]byte{"rootfs.tar": rootfs, "small": []byte("s")}, &store.Manifest{})
	s.add(t, st, "image/base", map[string][]byte{"rootfs.tar.xz": rootfs[:300<<10], "meta": []byte("m")}, &store.Manifest{
		Publish: []store.Publication{{Path: "images/base/rootfs.tar.xz", File: "rootfs.tar.xz"}},
		Lines:   []store.Line{{File: "images/index", Key: "base", Line: "base;images/base"}},
	})
	b, err := json.Marshal(s.Release)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "release.json"), b, 0o644); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestPush(t *testing.T) {
	from := faulttest.Dir(t)
	s := fill(t, from)
	setup := func(t *testing.T) string {
		dir := faulttest.Dir(t)
		if out, err := exec.Command("cp", "-a", from+"/.", dir).CombinedOutput(); err != nil { // modes, too
			t.Fatalf("%v\n%s", err, out)
		}
		return dir
	}
	// Whatever happened: nothing that is there is wrong, all that is listed is whole, and the next push
	// ends it.
	after := func(t *testing.T, dir string) {
		repo := filepath.Join(dir, "repo")
		if err := cachetest.Audit(repo, s.manifests...); err != nil {
			t.Error(err)
		}
		if amiss, err := cachetest.Listed(t.Context(), repo); err != nil || len(amiss) > 0 {
			t.Error(amiss, err)
		}
		if err := movers["push"](dir); err != nil {
			t.Errorf("again: %v", err)
			return
		}
		if err := cachetest.Audit(repo, s.manifests...); err != nil {
			t.Errorf("again: %v", err)
		}
		if amiss, err := cachetest.Listed(t.Context(), repo, s.Items...); err != nil || len(amiss) > 0 {
			t.Error("again:", amiss, err)
		}
		if b, err := os.ReadFile(filepath.Join(repo, "images/index")); err != nil || string(b) != "base;images/base\n" {
			t.Errorf("the index of images: %q, %v", b, err)
		}
		if err := storetest.Audit(filepath.Join(dir, "store")); err != nil {
			t.Errorf("the store: %v", err)
		}
	}
	p := moving("push", setup, after)
	t.Run("Faults", func(t *testing.T) { p.TestFaults(t, 3) })
	t.Run("Killed", func(t *testing.T) { p.TestKilled(t, 40) })
}

func TestPull(t *testing.T) {
	from := faulttest.Dir(t)
	s := fill(t, from)
	if err := movers["push"](from); err != nil {
		t.Fatal(err)
	}
	setup := func(t *testing.T) string {
		dir := faulttest.Dir(t)
		for _, name := range []string{"repo", "release.json"} {
			if err := os.Symlink(filepath.Join(from, name), filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
		return dir
	}
	after := func(t *testing.T, dir string) {
		if _, err := os.Stat(filepath.Join(dir, "store")); err == nil {
			if err := storetest.Audit(filepath.Join(dir, "store")); err != nil {
				t.Errorf("the store: %v", err)
			}
		}
		if err := movers["pull"](dir); err != nil {
			t.Errorf("again: %v", err)
			return
		}
		if err := storetest.Audit(filepath.Join(dir, "store")); err != nil {
			t.Errorf("the store: %v", err)
		}
		wantAll(t, filepath.Join(dir, "store"), s.Items)
	}
	p := moving("pull", setup, after)
	t.Run("Faults", func(t *testing.T) { p.TestFaults(t, 3) })
	t.Run("Killed", func(t *testing.T) { p.TestKilled(t, 40) })
}

// wantAll wants items in the store, and nothing of temporary files.
func wantAll(t *testing.T, dir string, items []cache.Item) {
	t.Helper()
	if left, _ := storetest.Left(dir); len(left) > 0 {
		t.Errorf("temporary files are left: %v", left)
	}
	st, err := store.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	for _, it := range items {
		has, err := st.Has(it.Artifact)
		if err != nil || !has {
			t.Errorf("%s: %v, %v", it.Name, has, err)
		}
		if _, err := st.Realisation(it.Drv, it.Artifact); err != nil {
			t.Errorf("%s: %v", it.Name, err)
		}
	}
}
