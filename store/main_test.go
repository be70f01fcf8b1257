package store

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"go.etcd.io/bbolt"
)

// helpers are what this binary does in a process of its own, for tests that need several: by name,
// with the store's folder. A helper says one line when it is ready.
var helpers = map[string]func(dir string) error{
	"lock": func(dir string) error {
		s, err := Open(dir)
		if err != nil {
			return err
		}
		if _, err := s.Lock(context.Background(), HashDrv([]byte("locked")), nil); err != nil {
			return err
		}
		fmt.Println("ready")
		time.Sleep(time.Hour)
		return nil
	},
	"temp": func(dir string) error {
		s, err := Open(dir)
		if err != nil {
			return err
		}
		tmp, err := s.TempDir("build")
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(tmp, "file"), []byte("half done"), 0o600); err != nil {
			return err
		}
		fmt.Println("ready")
		time.Sleep(time.Hour)
		return nil
	},
	"index": func(dir string) error {
		db, err := bbolt.Open(filepath.Join(dir, indexName), 0o644, nil)
		if err != nil {
			return err
		}
		fmt.Println("ready")
		time.Sleep(300 * time.Millisecond)
		return db.Close()
	},
	"gc": func(dir string) error {
		s, err := Open(dir)
		if err != nil {
			return err
		}
		defer s.Close()
		fmt.Println("ready")
		_, err = s.GC(context.Background(), GCOptions{Keep: 1})
		return err
	},
	"build": func(dir string) error {
		for round := range 3 {
			if err := buildAndCheck(dir, os.Getpid(), round); err != nil {
				return err
			}
		}
		return nil
	},
	"put": func(dir string) error {
		s, err := Open(dir)
		if err != nil {
			return err
		}
		defer s.Close()
		return putMany(s)
	},
}

func TestMain(m *testing.M) {
	if name := os.Getenv("STORE_TEST_HELPER"); name != "" {
		if err := helpers[name](os.Args[1]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// helper starts a process that runs a helper.
func helper(t *testing.T, name, dir string) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	cmd := exec.Command(os.Args[0], dir)
	cmd.Env = append(os.Environ(), "STORE_TEST_HELPER="+name)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() })
	return cmd, bufio.NewScanner(out)
}

// readyHelper waits until the helper says that it is ready.
func readyHelper(t *testing.T, name, dir string) *exec.Cmd {
	t.Helper()
	cmd, out := helper(t, name, dir)
	if !out.Scan() {
		t.Fatalf("helper %s said nothing", name)
	}
	return cmd
}

func open(t testing.TB) *Store {
	t.Helper()
	s, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// tree makes a temporary folder in the store with files: a name that ends with a slash is a folder,
// content that begins with "-> " a link, with "#!" an executable.
func tree(t testing.TB, s *Store, files map[string]string) string {
	t.Helper()
	dir, err := s.TempDir("tree")
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range files {
		if err := makeFile(filepath.Join(dir, name), name, content); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func makeFile(path, name, content string) error {
	if name[len(name)-1] == '/' {
		return os.MkdirAll(path, 0o755)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	switch {
	case len(content) > 3 && content[:3] == "-> ":
		return os.Symlink(content[3:], path)
	case len(content) > 2 && content[:2] == "#!":
		return os.WriteFile(path, []byte(content), 0o700)
	default:
		return os.WriteFile(path, []byte(content), 0o644)
	}
}
