package signature

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"
)

func TestGenerate(t *testing.T) {
	file := filepath.Join(t.TempDir(), "signing.pem")
	key, err := Generate(file)
	if err != nil {
		t.Fatal(err)
	}
	if fi, err := os.Stat(file); err != nil || fi.Mode() != 0o600 {
		t.Errorf("mode %v, %v; want 0600", fi.Mode(), err)
	}
	loaded, err := Load(file)
	if err != nil || loaded.Public() != key.Public() {
		t.Errorf("loaded another key, %v", err)
	}
	before, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Generate(file); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("a second time: %v", err)
	}
	if after, err := os.ReadFile(file); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the second time changed the file, %v", err)
	}
	other, err := Generate(filepath.Join(t.TempDir(), "signing.pem"))
	if err != nil || other.Public() == key.Public() {
		t.Errorf("two keys are one, %v", err)
	}
	if _, err := Generate(filepath.Join(t.TempDir(), "none", "signing.pem")); err == nil {
		t.Error("it made a folder")
	}
}

func TestPublicKeyText(t *testing.T) {
	alice := testKey(t, aliceSeed).Public()
	const want = "ed25519:11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
	if alice.String() != want {
		t.Errorf("got %s, want %s", alice, want)
	}
	if k, err := ParsePublicKey(want); err != nil || k != alice {
		t.Errorf("got %s, %v", k, err)
	}
	for _, text := range []string{
		"", "ed25519:", want[8:], "rsa:" + want[8:], want + "=", strings.TrimSuffix(want, "="), strings.Replace(want, "Ro=", "Rp=", 1),
		want + "\n", " " + want, "ed25519:" + encode(make([]byte, 31)), "ed25519:" + encode(make([]byte, 33)), "ed25519:" + encode(make([]byte, 32)),
	} {
		if k, err := ParsePublicKey(text); err == nil {
			t.Errorf("%q is read as %s", text, k)
		}
	}
}

func TestPublicKeyPEM(t *testing.T) {
	alice := testKey(t, aliceSeed).Public()
	b, err := alice.PEM()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "public.pem")
	if err := os.WriteFile(file, b, 0o644); err != nil {
		t.Fatal(err)
	}
	if k, err := LoadPublic(file); err != nil || k != alice {
		t.Errorf("got %s, %v", k, err)
	}
}

func TestLoadRefuses(t *testing.T) {
	dir := t.TempDir()
	private := filepath.Join(dir, "private.pem")
	if _, err := Generate(private); err != nil {
		t.Fatal(err)
	}
	public, err := testKey(t, aliceSeed).Public().PEM()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "file")
	load := func(name string) error { _, err := Load(name); return err }
	loadPublic := func(name string) error { _, err := LoadPublic(name); return err }
	for name, c := range map[string]struct {
		load    func(string) error
		content string
		want    string
	}{
		"nothing":             {load, "", "want a PEM block of type PRIVATE KEY"},
		"a public key":        {load, string(public), "of type PRIVATE KEY, not PUBLIC KEY"},
		"a private one":       {loadPublic, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "of type PUBLIC KEY, not PRIVATE KEY"},
		"under a passphrase":  {load, "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n", "not ENCRYPTED PRIVATE KEY"},
		"no key in it":        {load, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", file},
		"no public key in it": {loadPublic, "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", file},
	} {
		if err := os.WriteFile(file, []byte(c.content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := c.load(file); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	if err := load(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

// TestOpenSSL holds that keys and signatures are those of the rest of the world.
func TestOpenSSL(t *testing.T) {
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Skip("openssl is missing: Debian package openssl")
	}
	dir := t.TempDir()
	openssl := func(args ...string) []byte {
		t.Helper()
		cmd := exec.Command("openssl", args...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("openssl %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return out
	}
	write := func(name string, content []byte) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}

	// It reads our keys.
	ours, err := Generate(filepath.Join(dir, "ours.pem"))
	if err != nil {
		t.Fatal(err)
	}
	public, err := ours.Public().PEM()
	if err != nil {
		t.Fatal(err)
	}
	if got := openssl("pkey", "-in", "ours.pem", "-pubout"); !bytes.Equal(got, public) {
		t.Errorf("openssl says %s, want %s", got, public)
	}

	// We read its keys, and no others.
	openssl("genpkey", "-algorithm", "ed25519", "-out", "theirs.pem")
	openssl("pkey", "-in", "theirs.pem", "-pubout", "-out", "theirs.pub")
	theirs, err := Load(filepath.Join(dir, "theirs.pem"))
	if err != nil {
		t.Fatal(err)
	}
	if k, err := LoadPublic(filepath.Join(dir, "theirs.pub")); err != nil || k != theirs.Public() {
		t.Errorf("got %s, %v, want %s", k, err, theirs.Public())
	}
	openssl("genpkey", "-algorithm", "x25519", "-out", "other.pem")
	openssl("pkey", "-in", "other.pem", "-pubout", "-out", "other.pub")
	if _, err := Load(filepath.Join(dir, "other.pem")); err == nil || !strings.Contains(err.Error(), "not an ed25519 key") {
		t.Errorf("got %v", err)
	}
	if _, err := LoadPublic(filepath.Join(dir, "other.pub")); err == nil || !strings.Contains(err.Error(), "not an ed25519 key") {
		t.Errorf("got %v", err)
	}

	// It verifies our signatures of what an envelope signs, and we its.
	write("ours.pub", public)
	write("pae", dsse.PAE(testType, []byte("payload")))
	sig, err := decode(signatureOf(t, "payload", ours).Sig)
	if err != nil {
		t.Fatal(err)
	}
	write("sig", sig)
	openssl("pkeyutl", "-verify", "-pubin", "-inkey", "ours.pub", "-rawin", "-in", "pae", "-sigfile", "sig")
	openssl("pkeyutl", "-sign", "-inkey", "theirs.pem", "-rawin", "-in", "pae", "-out", "sig")
	if sig, err = os.ReadFile(filepath.Join(dir, "sig")); err != nil {
		t.Fatal(err)
	}
	e, err := Open(testType, marshal(t, dsse.Envelope{PayloadType: testType, Payload: encode([]byte("payload")),
		Signatures: []dsse.Signature{{KeyID: theirs.Public().String(), Sig: encode(sig)}}}))
	if err != nil || len(e.Signers()) != 1 || e.Signers()[0] != theirs.Public() {
		t.Errorf("got %+v, %v", e, err)
	}
}
