package openpgp_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rcbops/rpcbuild/cache/openpgp"
)

const release = "Origin: test\nSuite: r1-trixie\nSHA256:\n 0123 4 main/binary-amd64/Packages\n- a line with a dash\n"

func generate(t *testing.T) (*openpgp.Key, string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "key.asc")
	k, err := openpgp.GenerateKey(file, "rpc-repo test <test@example.org>")
	if err != nil {
		t.Fatal(err)
	}
	return k, file
}

func need(t *testing.T, program, pkg string) {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		t.Skipf("%s is missing: apt-get install %s", program, pkg)
	}
}

func write(t *testing.T, dir, name string, b []byte) string {
	t.Helper()
	file := filepath.Join(dir, name)
	if err := os.WriteFile(file, b, 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

func TestSignAndVerify(t *testing.T) {
	k, file := generate(t)
	if fi, err := os.Stat(file); err != nil || fi.Mode() != 0o600 {
		t.Errorf("key file: %v, %v, want mode 0600", fi.Mode(), err)
	}
	loaded := must(openpgp.LoadKey(file))(t)
	if loaded.Fingerprint() != k.Fingerprint() || len(k.Fingerprint()) != 40 {
		t.Errorf("fingerprints %s and %s", k.Fingerprint(), loaded.Fingerprint())
	}
	clear := must(loaded.ClearSign([]byte(release)))(t)
	detached := must(loaded.DetachSign([]byte(release)))(t)
	if err := k.Verify([]byte(release), clear, detached); err != nil {
		t.Error(err)
	}
	other, _ := generate(t)
	for name, err := range map[string]error{
		"another text":           k.Verify([]byte(release+"x\n"), clear, detached),
		"another key":            other.Verify([]byte(release), clear, detached),
		"another detached":       k.Verify([]byte(release), clear, must(k.DetachSign([]byte("x\n")))(t)),
		"a changed text":         k.Verify([]byte(release), bytes.Replace(clear, []byte("test"), []byte("tset"), 1), nil),
		"something else after":   k.Verify([]byte(release), append(bytes.Clone(clear), "more\n"...), nil),
		"something else instead": k.Verify([]byte(release), []byte("no signature\n"), nil),
	} {
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := k.ClearSign([]byte("no end of line")); err == nil {
		t.Error("a text without an end of line: no error")
	}
}

func TestKeyring(t *testing.T) {
	a, _ := generate(t)
	b, _ := generate(t)
	one := must(a.Keyring(nil))(t)
	if again := must(a.Keyring(one))(t); !bytes.Equal(again, one) {
		t.Error("a key that is there was added again")
	}
	both := must(b.Keyring(one))(t)
	if again := must(a.Keyring(both))(t); !bytes.Equal(again, both) || bytes.Contains(both, []byte("PRIVATE")) {
		t.Error("the keyring of both does not hold both, or more than public keys")
	}
}

func TestLoadKeyRefuses(t *testing.T) {
	k, file := generate(t)
	dir := t.TempDir()
	for want, name := range map[string]string{
		"no such file":         filepath.Join(dir, "none"),
		"holds no private key": write(t, dir, "public", must(k.Public())(t)),
		"load signing key":     write(t, dir, "text", []byte("not a key")),
	} {
		if _, err := openpgp.LoadKey(name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
	if _, err := openpgp.GenerateKey(file, "x"); err == nil {
		t.Error("a key was written over another")
	}
}

// gpgv is what apt asks up to Debian 12 and in Ubuntu.
func TestGPGV(t *testing.T) {
	need(t, "gpgv", "gpgv")
	need(t, "gpg", "gpg")
	k, _ := generate(t)
	dir := t.TempDir()
	public := write(t, dir, "key.asc", must(k.Public())(t))
	ring := filepath.Join(dir, "key.gpg")
	run(t, "gpg", "--homedir", dir, "--batch", "--yes", "-o", ring, "--dearmor", public)
	text := write(t, dir, "Release", []byte(release))
	inRelease := write(t, dir, "InRelease", must(k.ClearSign([]byte(release)))(t))
	detached := write(t, dir, "Release.gpg", must(k.DetachSign([]byte(release)))(t))
	for _, args := range [][]string{{inRelease}, {detached, text}} {
		out := run(t, "gpgv", append([]string{"--keyring", ring}, args...)...)
		if !strings.Contains(out, "Good signature") || !strings.Contains(out, k.Fingerprint()) {
			t.Errorf("gpgv %v: %s", args, out)
		}
	}
	plain := filepath.Join(dir, "plain")
	run(t, "gpgv", "--keyring", ring, "--output", plain, inRelease)
	if b, err := os.ReadFile(plain); err != nil || string(b) != release {
		t.Errorf("gpgv read %q, %v", b, err)
	}
}

// sqv is what apt asks from Debian 13 on.
func TestSQV(t *testing.T) {
	need(t, "sqv", "sqv")
	k, _ := generate(t)
	dir := t.TempDir()
	public := write(t, dir, "key.asc", must(k.Public())(t))
	text := write(t, dir, "Release", []byte(release))
	detached := write(t, dir, "Release.gpg", must(k.DetachSign([]byte(release)))(t))
	inRelease := write(t, dir, "InRelease", must(k.ClearSign([]byte(release)))(t))
	run(t, "sqv", "--keyring", public, detached, text)
	if help := run(t, "sqv", "--help"); strings.Contains(help, "--cleartext") {
		run(t, "sqv", "--keyring", public, "--cleartext", "--output", filepath.Join(dir, "plain"), inRelease)
	}
}

// A key that gpg made signs, too.
func TestKeyOfGPG(t *testing.T) {
	need(t, "gpg", "gpg")
	home := t.TempDir()
	if err := os.Chmod(home, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { exec.Command("gpgconf", "--homedir", home, "--kill", "all").Run() })
	gpg := func(args ...string) string {
		return run(t, "gpg", append([]string{"--homedir", home, "--batch", "--pinentry-mode", "loopback"}, args...)...)
	}
	gpg("--passphrase", "", "--quick-generate-key", "open <open@example.org>", "rsa3072", "sign", "never")
	gpg("--passphrase", "secret", "--quick-generate-key", "closed <closed@example.org>", "rsa3072", "sign", "never")
	open, closed := filepath.Join(home, "open.asc"), filepath.Join(home, "closed.gpg")
	gpg("--passphrase", "", "--armor", "-o", open, "--export-secret-keys", "open@example.org")
	gpg("--passphrase", "secret", "-o", closed, "--export-secret-keys", "closed@example.org")
	k := must(openpgp.LoadKey(open))(t)
	clear := must(k.ClearSign([]byte(release)))(t)
	run(t, "gpg", "--homedir", home, "--verify", write(t, home, "InRelease", clear))
	if _, err := openpgp.LoadKey(closed); err == nil || !strings.Contains(err.Error(), "passphrase") {
		t.Errorf("a key with a passphrase: %v", err)
	}
}

func FuzzKeyring(f *testing.F) {
	file := filepath.Join(f.TempDir(), "key.asc")
	k, err := openpgp.GenerateKey(file, "fuzz")
	if err != nil {
		f.Fatal(err)
	}
	public, err := k.Public()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(public)
	f.Fuzz(func(t *testing.T, b []byte) { k.Keyring(b) })
}
