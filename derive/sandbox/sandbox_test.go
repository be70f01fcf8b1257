package sandbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestMain lets this binary play rpcbuild's hidden verb.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "sandbox" {
		if err := Main(os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// open makes a sandbox on the machine's own root, of which only programs are used.
func open(t *testing.T) *Sandbox {
	t.Helper()
	if err := Check(); err != nil {
		t.Skip(err)
	}
	// Overlays do not nest on every file system, so the changes lie where the lower tree does.
	scratch, err := os.MkdirTemp("/var/tmp", "sandbox")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(scratch) })
	s, err := Open(scratch, "/")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestRunSeesNothingOfTheMachine(t *testing.T) {
	s := open(t)
	t.Setenv("SECRET", "of the machine")
	var log bytes.Buffer
	err := s.Run(context.Background(), Command{
		Args: []string{"sh", "-c", `echo "host $(hostname) user $(id -u) umask $(umask) dir $PWD secret ${SECRET-none}"
			tail -n +3 /proc/net/dev | cut -d: -f1 | xargs echo net
			ls /proc | grep -c '^[0-9]' | xargs test 10 -gt && echo few processes
			date -s 2001-01-01 >/dev/null 2>&1 || echo clock kept
			echo made > /made`},
		Dir: "/usr", Log: &log,
	})
	if err != nil {
		t.Fatal(err)
	}
	want := "host localhost user 0 umask 0022 dir /usr secret none\nnet lo\nfew processes\nclock kept\n"
	if log.String() != want {
		t.Errorf("got %q, want %q", log.String(), want)
	}
	if _, err := os.Stat(filepath.Join(s.Root, "made")); err != nil {
		t.Error("the view does not show what the program made:", err)
	}
	if _, err := os.Stat("/made"); err == nil {
		t.Error("the program wrote to the lower tree")
	}
}

func TestRunBindsAndStatus(t *testing.T) {
	s := open(t)
	in := t.TempDir()
	if err := os.WriteFile(filepath.Join(in, "file"), []byte("content"), 0o644); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	err := s.Run(context.Background(), Command{
		Args:  []string{"sh", "-c", "cat /input/file; echo x > /input/other; exit 7"},
		Binds: []Bind{{Source: in, Target: "/input"}}, Log: &log,
	})
	var exit *ExitError
	if !errors.As(err, &exit) || exit.Status != 7 {
		t.Errorf("got %v, want exit status 7", err)
	}
	if !strings.HasPrefix(log.String(), "content") || !strings.Contains(log.String(), "Read-only file system") {
		t.Errorf("got log %q", log.String())
	}
}

func TestRunIsKilled(t *testing.T) {
	s := open(t)
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	start := time.Now()
	err := s.Run(ctx, Command{Args: []string{"sleep", "60"}})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the deadline", err)
	}
	if d := time.Since(start); d > 10*time.Second {
		t.Errorf("it took %s to stop", d)
	}
	for _, dir := range groupDirs() {
		if groups, _ := filepath.Glob(filepath.Join(dir, "lxc.*"+containerName(s.scratch)+"*")); len(groups) > 0 {
			t.Errorf("control groups are left: %v", groups)
		}
	}
}

// TestRunOften would meet the crash of liblxc that [start] makes up for.
func TestRunOften(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes some seconds")
	}
	s := open(t)
	for i := range 100 {
		if err := s.Run(t.Context(), Command{Args: []string{"true"}}); err != nil {
			t.Fatalf("run %d: %v", i, err)
		}
	}
}
