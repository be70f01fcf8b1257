package storetest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/rcbops/rpcbuild/store"
	"github.com/rcbops/rpcbuild/store/faulttest"
	"github.com/rcbops/rpcbuild/store/storetest"
)

// commit does all that a build does with a store: it opens it, holds a lock, adds content, trees, a
// derivation, what it gave, a log and an unpacked tree, and looks all of it up. It is what runs while
// calls fail.
func commit(dir string) (err error) {
	s, err := store.Open(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	ctx := context.Background()
	drv, err := s.PutDerivation([]byte(`{"name":"commit"}`))
	if err != nil {
		return err
	}
	unlock, err := s.Lock(ctx, drv, nil)
	if err != nil {
		return err
	}
	defer unlock()
	content := bytes.Repeat([]byte("downloaded"), 10<<10)
	if err := s.PutBlob(ctx, bytes.NewReader(content), store.HashBlob(content)); err != nil {
		return err
	}
	log, err := s.CreateLog(drv)
	if err != nil {
		return err
	}
	if err := errors.Join(log.Close()); err != nil {
		return err
	}
	partial := []byte("adopted")
	if err := os.WriteFile(s.PartialPath(store.HashBlob(partial)), partial, 0o644); err != nil {
		return err
	}
	if err := s.AdoptBlob(s.PartialPath(store.HashBlob(partial)), store.HashBlob(partial)); err != nil {
		return err
	}
	for _, files := range []int{3, 40} { // synced one by one, and with the file system
		if err := commitTree(ctx, s, drv, files); err != nil {
			return err
		}
	}
	return nil
}

func commitTree(ctx context.Context, s *store.Store, drv store.DrvID, files int) error {
	dir, err := s.TempDir("output")
	if err != nil {
		return err
	}
	for i := range files {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint("file", i)), fmt.Append(nil, files, i/2), 0o644); err != nil {
			return err
		}
	}
	m := &store.Manifest{}
	id, err := s.AddTree(ctx, dir, m)
	if err != nil {
		return err
	}
	drv = store.HashDrv(fmt.Append(nil, drv, files))
	if err := s.AddRealisation(store.Realisation{Drv: drv, Artifact: id, Builder: "test", Size: m.Size()}, nil); err != nil {
		return err
	}
	out, err := s.TempDir("input")
	if err != nil {
		return err
	}
	if err := s.Materialize(id, filepath.Join(out, "tree")); err != nil {
		return err
	}
	_, err = s.Tree(id, func(_ *store.Manifest, dir string) error {
		return os.WriteFile(filepath.Join(dir, "unpacked"), []byte("unpacked"), 0o644)
	})
	if err != nil {
		return err
	}
	found, err := s.Lookup([]store.DrvID{drv})
	if err != nil {
		return err
	}
	if len(found[drv]) != 1 || found[drv][0] != id {
		return fmt.Errorf("derivation %s: it gave %v, want %s", drv, found[drv], id)
	}
	return nil
}

// program is one that works on a store in a process of its own.
func program(name string, setup func(t *testing.T) string, after func(t *testing.T, dir string)) faulttest.Program {
	return faulttest.Program{
		Setup: setup,
		Command: func(ctx context.Context, dir string) *exec.Cmd {
			cmd := exec.CommandContext(ctx, os.Args[0], dir)
			cmd.Env = append(os.Environ(), "STORETEST_PROGRAM="+name)
			return cmd
		},
		After: after,
	}
}

var committing = program("commit", faulttest.Dir, func(t *testing.T, dir string) {
	if err := storetest.Audit(dir); err != nil {
		t.Errorf("the store: %v", err)
	}
	if err := commit(dir); err != nil {
		t.Errorf("again: %v", err)
	}
	if err := storetest.Audit(dir); err != nil {
		t.Errorf("the store after it was done again: %v", err)
	}
	if left, _ := storetest.Left(dir); len(left) > 0 {
		t.Errorf("temporary files are left: %v", left)
	}
})

func TestFaults(t *testing.T) { committing.TestFaults(t, 4) }

func TestKilled(t *testing.T) { committing.TestKilled(t, 40) }
