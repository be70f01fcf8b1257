package container

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/rcbops/rpcbuild/derive/sandbox"
)

func TestClean(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) {
		do(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755), os.WriteFile(filepath.Join(dir, name), []byte(content), 0o640))
	}
	gone := []string{
		"tmp/x", "var/tmp/x/y", "run/lock/x", "root/.ssh/id_ed25519", "root/.cache/pip/x", "etc/passwd-", "etc/ssh/ssh_host_rsa_key",
		"var/cache/apt/pkgcache.bin", "var/cache/apt/archives/a.deb", "var/lib/apt/lists/x_InRelease", "var/lib/dpkg/status-old",
		"var/cache/ldconfig/aux-cache", "var/lib/dbus/machine-id", "var/lib/systemd/random-seed", "etc/resolv.conf",
		"etc/ssl/certs/ssl-cert-snakeoil.pem",
	}
	emptied := []string{"var/log/dpkg.log", "var/log/apt/history.log", "etc/machine-id"}
	kept := []string{"var/lib/dpkg/status", "etc/passwd", "etc/ssh/sshd_config"}
	for _, name := range append(append(gone, emptied...), kept...) {
		write(name, "content")
	}
	outside := filepath.Join(t.TempDir(), "log")
	do(t, os.WriteFile(outside, []byte("untouched"), 0o644))
	do(t,
		os.Symlink(outside, filepath.Join(dir, "var/log/link")),
		os.Symlink("ssl-cert-snakeoil.pem", filepath.Join(dir, "etc/ssl/certs/4f1a5b2c.0")),
	)
	write("etc/shadow", "root:*:20800:0:99999:7:::\nold:*:100::::::\nnever:*:::::::\n")
	s := &system{Sandbox: &sandbox.Sandbox{Root: dir}, time: 20000 * 24 * 60 * 60}
	do(t, s.clean(), s.clean()) // what is clean stays as it is
	for _, name := range append(gone, "etc/ssl/certs/4f1a5b2c.0") {
		if _, err := os.Lstat(filepath.Join(dir, name)); err == nil {
			t.Errorf("%s is still there", name)
		}
	}
	read := func(name string) string {
		b, err := os.ReadFile(name)
		do(t, err)
		return string(b)
	}
	for _, name := range emptied {
		if got := read(filepath.Join(dir, name)); got != "" {
			t.Errorf("%s holds %q", name, got)
		}
	}
	for _, name := range kept {
		if got := read(filepath.Join(dir, name)); got != "content" {
			t.Errorf("%s holds %q", name, got)
		}
	}
	if got, want := read(filepath.Join(dir, "etc/shadow")), "root:*:20000:0:99999:7:::\nold:*:100::::::\nnever:*:::::::\n"; got != want {
		t.Errorf("shadow: got %q, want %q", got, want)
	}
	if got := read(outside); got != "untouched" {
		t.Errorf("a file outside holds %q", got)
	}
}
