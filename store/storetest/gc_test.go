package storetest_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/rcbops/rpcbuild/store"
	"github.com/rcbops/rpcbuild/store/faulttest"
	"github.com/rcbops/rpcbuild/store/storetest"
)

// collect removes what no root reaches.
func collect(dir string) (err error) {
	s, err := store.Open(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	_, err = s.GC(context.Background(), store.GCOptions{})
	return err
}

// fill makes a store with something of each kind that gc removes, and returns what roots keep, and
// what is kept only if it is used.
func fill(t *testing.T, dir string) (kept []store.RootItem, used store.RootItem) {
	t.Helper()
	s, err := store.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	shared, before, now, pinned := build(t, s, "shared"), build(t, s, "before"), build(t, s, "now"), build(t, s, "pinned")
	build(t, s, "loose")
	used = build(t, s, "used")
	ctx := t.Context()
	err = errors.Join(
		s.AddRoot(ctx, store.Root{Release: "r", Lock: digest.FromString("before"), Time: time.Unix(1, 0), Items: []store.RootItem{before, shared}}),
		s.AddRoot(ctx, store.Root{Release: "r", Lock: digest.FromString("now"), Time: time.Unix(2, 0), Items: []store.RootItem{now, shared}}),
		s.AddPin("p", store.Root{Time: time.Unix(1, 0), Items: []store.RootItem{pinned}}),
	)
	long := time.Now().Add(-30 * 24 * time.Hour)
	for _, name := range []string{s.PartialPath(store.HashBlob([]byte("partial"))), filepath.Join(dir, "lock", "left")} {
		err = errors.Join(err, os.WriteFile(name, nil, 0o644), os.Chtimes(name, long, long))
	}
	if err != nil {
		t.Fatal(err)
	}
	return []store.RootItem{shared, now, pinned}, used
}

// use opens a store and relies on an item.
func use(t *testing.T, dir string, it store.RootItem) *store.Store {
	t.Helper()
	s, err := store.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	_, lookupErr := s.Lookup([]store.DrvID{it.Drv})
	_, hasErr := s.Has(it.Artifact)
	_, treeErr := s.Tree(it.Artifact, nil) // which is there
	if err := errors.Join(lookupErr, hasErr, treeErr); err != nil {
		t.Fatal(err)
	}
	return s
}

// build adds what a build leaves: two files, one of which is in every artifact, and an unpacked tree.
func build(t *testing.T, s *store.Store, name string) store.RootItem {
	t.Helper()
	dir, err := s.TempDir("output")
	if err != nil {
		t.Fatal(err)
	}
	for file, content := range map[string]string{"own": name, "common": "common"} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	id, err := s.AddTree(t.Context(), dir, &store.Manifest{})
	if err != nil {
		t.Fatal(err)
	}
	drv, err := s.PutDerivation(fmt.Appendf(nil, `{"name":%q}`, name))
	if err != nil {
		t.Fatal(err)
	}
	log, err := s.CreateLog(drv)
	if err != nil {
		t.Fatal(err)
	}
	unpack := func(_ *store.Manifest, dir string) error {
		return os.WriteFile(filepath.Join(dir, "unpacked"), []byte(name), 0o644)
	}
	_, err = s.Tree(id, unpack)
	if err := errors.Join(err, log.Close(), s.AddRealisation(store.Realisation{Drv: drv, Artifact: id, Builder: "test"}, nil)); err != nil {
		t.Fatal(err)
	}
	return store.RootItem{Name: name, Drv: drv, Artifact: id}
}

// TestGC stops gc everywhere, while somebody else uses the store: what roots reach and what he relies on is
// there. When he is gone, the next gc leaves what an undisturbed one leaves.
func TestGC(t *testing.T) {
	from := faulttest.Dir(t)
	kept, used := fill(t, from)
	fresh := func(t *testing.T) string {
		dir := faulttest.Dir(t)
		if out, err := exec.Command("cp", "-a", from+"/.", dir).CombinedOutput(); err != nil { // times, too
			t.Fatalf("%v\n%s", err, out)
		}
		return dir
	}
	undisturbed := fresh(t)
	if err := collect(undisturbed); err != nil {
		t.Fatal(err)
	}
	want := names(t, undisturbed)
	var users sync.Map // of each folder
	setup := func(t *testing.T) string {
		dir := fresh(t)
		user := use(t, dir, used)
		users.Store(dir, user)
		t.Cleanup(func() { user.Close() })
		return dir
	}
	p := program("gc", setup, func(t *testing.T, dir string) {
		if err := storetest.Audit(dir); err != nil {
			t.Errorf("the store: %v", err)
		}
		wantItems(t, dir, append(kept[:len(kept):len(kept)], used))
		user, _ := users.LoadAndDelete(dir)
		if err := user.(*store.Store).Close(); err != nil {
			t.Error(err)
		}
		time.Sleep(10 * time.Millisecond) // files have times of 4 ms
		if err := collect(dir); err != nil {
			t.Errorf("again: %v", err)
		}
		if err := storetest.Audit(dir); err != nil {
			t.Errorf("the store after another gc: %v", err)
		}
		wantItems(t, dir, kept)
		if got := names(t, dir); !slices.Equal(got, want) {
			t.Errorf("another gc left\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	})
	t.Run("Faults", func(t *testing.T) { p.TestFaults(t, 4) })
	t.Run("Killed", func(t *testing.T) { p.TestKilled(t, 40) })
}

// wantItems wants all that was said of items when they were built.
func wantItems(t *testing.T, dir string, items []store.RootItem) {
	t.Helper()
	s, err := store.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, it := range items {
		found, err := s.Lookup([]store.DrvID{it.Drv})
		if err != nil || !slices.Equal(found[it.Drv], []store.ArtifactID{it.Artifact}) {
			t.Errorf("%s: %v, %v", it.Name, found, err)
		}
		_, manifestErr := s.Manifest(it.Artifact)
		_, derivationErr := s.Derivation(it.Drv)
		_, statementErr := s.Realisation(it.Drv, it.Artifact)
		_, treeErr := os.Stat(filepath.Join(dir, "tree", it.Artifact.String(), "unpacked"))
		if err := errors.Join(manifestErr, derivationErr, statementErr, treeErr); err != nil {
			t.Errorf("%s: %v", it.Name, err)
		}
	}
}

// names are all files and folders of a store.
func names(t *testing.T, dir string) (names []string) {
	t.Helper()
	err := fs.WalkDir(os.DirFS(dir), ".", func(name string, _ fs.DirEntry, err error) error {
		names = append(names, name)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}
