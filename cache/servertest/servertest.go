// Package servertest runs the servers that rpc-repo is served by and lies on: nginx, OpenSSH's sshd, and
// versitygw for S3. Each listens on a free port of loopback, with its own configuration in a temporary
// folder, and ends with the test, or with the test's process.
package servertest

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// T is what a server needs of the test that it is for: a [testing.T], or a script's.
type T interface {
	Helper()
	TempDir() string
	Cleanup(func())
	Fatalf(format string, args ...any)
	Skipf(format string, args ...any)
}

func check(t T, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%v", err)
	}
}

func write(t T, file string, content []byte) string {
	t.Helper()
	check(t, os.WriteFile(file, content, 0o600))
	return file
}

// program returns a server's path; also of one that only root has in its PATH, or that make deps-test
// has built.
func program(t T, name, from string) string {
	t.Helper()
	for _, dir := range []string{"", tools(t), "/usr/sbin", "/usr/local/sbin"} {
		if file, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return file
		}
	}
	t.Skipf("%s is missing: %s", name, from)
	return ""
}

// tools returns the folder of what make deps-test builds, beside go.mod.
func tools(t T) string {
	t.Helper()
	dir, err := os.Getwd()
	check(t, err)
	for dir != "/" {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
		dir = filepath.Dir(dir)
	}
	return filepath.Join(dir, ".tools")
}

// FreePort returns an address on which nobody listens.
func FreePort(t T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	defer l.Close()
	return l.Addr().String()
}

// A daemon is a server's process.
type daemon struct {
	cmd *exec.Cmd
	end chan struct{}
}

// start starts a server and waits until it listens. Between that its port was found free and that it
// takes it, another may take it, so command is asked for more than one.
func start(t T, command func(address string) *exec.Cmd) (address string, d *daemon) {
	t.Helper()
	log, err := os.Create(t.TempDir() + "/log")
	check(t, err)
	defer log.Close()
	for range 3 {
		address = FreePort(t)
		d = &daemon{cmd: command(address), end: make(chan struct{})}
		d.cmd.Stdout, d.cmd.Stderr = log, log // a file: a pipe would stay open as long as a child of the server lives
		d.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		check(t, d.cmd.Start())
		go func() {
			defer close(d.end)
			d.cmd.Wait()
		}()
		t.Cleanup(d.stop)
		if d.listens(address) {
			return address, d
		}
		d.stop()
	}
	said, err := os.ReadFile(log.Name())
	check(t, err)
	t.Fatalf("%s does not start: %s", d.cmd.Path, said)
	return "", nil
}

func (d *daemon) listens(address string) bool {
	for range 200 {
		if conn, err := net.Dial("tcp", address); err == nil {
			conn.Close()
			return true
		}
		select {
		case <-d.end:
			return false
		case <-time.After(50 * time.Millisecond):
		}
	}
	return false
}

func (d *daemon) stop() {
	d.cmd.Process.Kill()
	<-d.end
}
