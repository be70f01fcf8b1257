package store

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// small opens a store on a file system of its own, of a few megabytes.
func small(t *testing.T) *Store {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("a file system of a few megabytes needs root")
	}
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=4m"); err != nil {
		t.Skipf("mount a tmpfs: %v", err)
	}
	s, err := Open(dir)
	t.Cleanup(func() {
		if s != nil {
			s.Close()
		}
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// fill leaves free bytes of the file system.
func fill(t *testing.T, s *Store, free int64) (makeRoom func()) {
	t.Helper()
	var st unix.Statfs_t
	if err := unix.Statfs(s.Dir(), &st); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(s.Dir(), "ballast")
	if err := os.WriteFile(name, make([]byte, max(0, int64(st.Bavail)*st.Bsize-free)), 0o644); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
}

// TestDiskFull lets each operation run out of space after every number of pages that it may need:
// each time it says so, nothing half done is seen, and with room it works.
func TestDiskFull(t *testing.T) {
	content := make([]byte, 40<<10)
	rand.Read(content)
	want := HashBlob(content)
	operations := map[string]struct {
		do   func(s *Store, i int) error
		done func(s *Store, i int) (bool, error)
	}{
		"PutBlob": {
			func(s *Store, i int) error {
				b := append(fmt.Append(nil, i), content...)
				return s.PutBlob(context.Background(), strings.NewReader(string(b)), HashBlob(b))
			},
			func(s *Store, i int) (bool, error) {
				return s.HasBlob(HashBlob(append(fmt.Append(nil, i), content...))), nil
			},
		},
		"PutManifest": {
			func(s *Store, i int) error {
				_, err := s.PutManifest(SingleFile(fmt.Sprint("f", i), want))
				return err
			},
			func(s *Store, i int) (bool, error) {
				id, err := SingleFile(fmt.Sprint("f", i), want).ID()
				if err != nil {
					return false, err
				}
				return s.Has(id)
			},
		},
		"AddRealisation": {
			func(s *Store, i int) error { return s.AddRealisation(realisation(fmt.Sprint(i), "artifact"), nil) },
			func(s *Store, i int) (bool, error) {
				found, err := s.Lookup([]DrvID{HashDrv([]byte(fmt.Sprint(i)))})
				return len(found) > 0, err
			},
		},
	}
	for name, op := range operations {
		t.Run(name, func(t *testing.T) {
			s := small(t)
			if err := s.PutBlob(context.Background(), strings.NewReader(string(content)), want); err != nil {
				t.Fatal(err)
			}
			failed := 0
			for i := range 16 {
				makeRoom := fill(t, s, int64(i)*4096)
				err := op.do(s, i)
				done, doneErr := op.done(s, i)
				switch {
				case doneErr != nil:
					t.Errorf("%d pages left: %v", i, doneErr)
				case err != nil && !errors.Is(err, unix.ENOSPC):
					t.Errorf("%d pages left: %v", i, err)
				case err == nil && !done:
					t.Errorf("%d pages left: no error, and nothing there", i)
				case err != nil && done:
					t.Errorf("%d pages left: %v, and yet it is there", i, err)
				}
				if err != nil {
					failed++
				}
				makeRoom()
				if err := op.do(s, i); err != nil {
					t.Errorf("with room again: %v", err)
				}
				if done, err := op.done(s, i); err != nil || !done {
					t.Errorf("with room again: %v, %v", done, err)
				}
			}
			if failed == 0 {
				t.Error("the disk was never full")
			}
			if left, _ := os.ReadDir(s.session.Name()); len(left) != 0 {
				t.Errorf("temporary files are left: %v", left)
			}
		})
	}
}

func TestDiskFullInATree(t *testing.T) {
	s := small(t)
	files := make(map[string]string)
	for i := range 50 {
		files[fmt.Sprintf("d%d/f", i)] = fmt.Sprint("content", i)
	}
	failed := 0
	for i := range 12 {
		files["which"] = fmt.Sprint(i)
		dir := tree(t, s, files)
		makeRoom := fill(t, s, int64(i)*8*4096)
		m := &Manifest{}
		_, err := s.AddTree(context.Background(), dir, m)
		if err != nil && !errors.Is(err, unix.ENOSPC) {
			t.Errorf("%d: %v", i, err)
		}
		id, idErr := m.ID()
		if idErr != nil {
			t.Fatal(idErr)
		}
		if has, hasErr := s.Has(id); hasErr != nil || has != (err == nil) {
			t.Errorf("%d: %v, Has = %v, %v", i, err, has, hasErr)
		}
		if err != nil {
			failed++
		}
		makeRoom()
		second := tree(t, s, files)
		again, err := s.AddTree(context.Background(), second, &Manifest{})
		if err != nil || again != id {
			t.Errorf("%d, with room again: %v, %v", i, again, err)
		}
		if err := errors.Join(os.RemoveAll(dir), os.RemoveAll(second)); err != nil {
			t.Fatal(err)
		}
	}
	if failed == 0 {
		t.Error("the disk was never full")
	}
}
