package cache_test

import (
	"crypto/md5"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rcbops/rpcbuild/cache"
	"github.com/rcbops/rpcbuild/cache/openpgp"
	"github.com/rcbops/rpcbuild/store"
)

func signer(t *testing.T) *openpgp.Key {
	t.Helper()
	k, err := openpgp.GenerateKey(filepath.Join(t.TempDir(), "key.asc"), "rpc-repo test")
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// aptRelease is a release with one signed apt repository that holds no package.
func aptRelease(t *testing.T, st *store.Store) cache.Release {
	t.Helper()
	packages := "Package: nothing\nVersion: 1\nArchitecture: amd64\nMaintainer: a\nDescription: d\nFilename: pool/none.deb\nSize: 1\n" +
		fmt.Sprintf("SHA256: %x\n\n", sha256.Sum256([]byte("x")))
	sum := fmt.Sprintf("%x", sha256.Sum256([]byte(packages)))
	text := "Origin: test\nSuite: r1-trixie\nCodename: r1-trixie\nDate: Thu, 01 Jan 2026 00:00:00 UTC\nArchitectures: amd64\nComponents: main\n" +
		fmt.Sprintf("Acquire-By-Hash: yes\nMD5Sum:\n %x %d main/binary-amd64/Packages\nSHA256:\n %s %d main/binary-amd64/Packages\n",
			md5.Sum([]byte(packages)), len(packages), sum, len(packages))
	dists := "apt-mirror/integrated/dists/r1-trixie/"
	return cache.Release{Name: "r1", Items: []cache.Item{add(t, st, "apt/integrated", "a",
		map[string]string{"Release": text, "Packages": packages},
		store.Manifest{Publish: []store.Publication{
			{Path: dists + "Release", File: "Release", Sign: store.SignRelease},
			{Path: dists + "main/binary-amd64/Packages", File: "Packages"},
			{Path: dists + "main/binary-amd64/by-hash/SHA256/" + sum, File: "Packages"},
		}})}}
}

func TestEnvelopes(t *testing.T) {
	dir, st, key := t.TempDir(), openStore(t), signer(t)
	rel := aptRelease(t, st)
	dists := filepath.Join(dir, "apt-mirror/integrated/dists/r1-trixie")
	push(t, openRepo(t, dir, cache.Options{Signer: key}), st, rel, cache.PushOptions{})
	wantAll(t, openRepo(t, dir, cache.Options{}), rel)
	text, clear, detached := read(t, dists, "Release"), read(t, dists, "InRelease"), read(t, dists, "Release.gpg")
	if err := key.Verify([]byte(text), []byte(clear), []byte(detached)); err != nil {
		t.Error(err)
	}

	// Pushed again after its generation was lost: what fits is kept.
	current := filepath.Join(dir, "cache/v1/current")
	if err := os.Remove(current); err != nil {
		t.Fatal(err)
	}
	push(t, openRepo(t, dir, cache.Options{Signer: key}), st, rel, cache.PushOptions{})
	if read(t, dists, "InRelease") != clear || read(t, dists, "Release.gpg") != detached {
		t.Error("signatures that fit were made again")
	}

	// Another key signs again, and the keyring holds both.
	if err := os.Remove(current); err != nil {
		t.Fatal(err)
	}
	other := signer(t)
	push(t, openRepo(t, dir, cache.Options{Signer: other}), st, rel, cache.PushOptions{})
	if err := other.Verify([]byte(text), []byte(read(t, dists, "InRelease")), []byte(read(t, dists, "Release.gpg"))); err != nil {
		t.Error(err)
	}
	ring := read(t, dir, cache.KeyPath)
	if same, err := key.Keyring([]byte(ring)); err != nil || string(same) != ring {
		t.Errorf("the first key is no longer published: %v", err)
	}

	if err := os.Remove(filepath.Join(dists, "Release.gpg")); err != nil {
		t.Fatal(err)
	}
	v, err := openRepo(t, dir, cache.Options{}).Check(t.Context(), rel.Items, true)
	if err != nil || v[0].State != cache.Wrong || !strings.Contains(v[0].Reason, "Release.gpg") {
		t.Errorf("check without a signature: %+v, %v", v, err)
	}
}

// apt itself accepts the signature, and nobody else's.
func TestAptUpdate(t *testing.T) {
	if _, err := exec.LookPath("apt-get"); err != nil {
		t.Skip("apt-get is missing: this needs a Debian or Ubuntu system")
	}
	dir, st := t.TempDir(), openStore(t)
	rel := aptRelease(t, st)
	push(t, openRepo(t, dir, cache.Options{Signer: signer(t)}), st, rel, cache.PushOptions{})
	url := serve(t, dir)
	if out, err := aptUpdate(t, url, filepath.Join(dir, cache.KeyPath)); err != nil {
		t.Errorf("apt-get update: %v\n%s", err, out)
	}
	key, err := signer(t).Public()
	if err != nil {
		t.Fatal(err)
	}
	stranger := filepath.Join(t.TempDir(), "stranger.asc")
	if err := os.WriteFile(stranger, key, 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := aptUpdate(t, url, stranger); err == nil {
		t.Errorf("apt-get update with a stranger's key: no error\n%s", out)
	}
}

// aptUpdate runs apt-get update on folders of its own, with the repo as its only source.
func aptUpdate(t *testing.T, url, key string) (string, error) {
	t.Helper()
	home := t.TempDir()
	for _, d := range []string{"lists/partial", "cache/archives/partial", "etc"} {
		if err := os.MkdirAll(filepath.Join(home, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	sources, status := filepath.Join(home, "sources.list"), filepath.Join(home, "status")
	source := fmt.Sprintf("deb [signed-by=%s arch=amd64] %s/apt-mirror/integrated/ r1-trixie main\n", key, url)
	if err := os.WriteFile(sources, []byte(source), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(status, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "apt-get", "update",
		"-o", "Dir::Etc="+home+"/etc", "-o", "Dir::Etc::sourcelist="+sources, "-o", "Dir::Etc::sourceparts=/dev/null",
		"-o", "Dir::State="+home, "-o", "Dir::State::lists="+home+"/lists", "-o", "Dir::State::status="+status,
		"-o", "Dir::Cache="+home+"/cache", "-o", "APT::Sandbox::User=root", "-o", "APT::Update::Error-Mode=any",
		"-o", "Acquire::Languages=none", "-o", "Acquire::http::Proxy=DIRECT")
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	out, err := cmd.CombinedOutput()
	return string(out), err
}
