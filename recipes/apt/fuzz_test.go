package apt

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rcbops/rpcbuild/recipes/apt/apttest"
)

func FuzzReadPackage(f *testing.F) {
	d := apttest.Deb{Name: "hello", Version: "1.0", Arch: "amd64", Fields: map[string]string{"Depends": "a | b (>= 1), c [amd64]", "Source": "greetings (0.9)"}}
	content, err := d.Bytes()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(content)
	f.Add(content[:len(content)/2])
	f.Add([]byte("!<arch>\ndebian-binary   0           0     0     100644  4         `\n2.0\n"))
	want := poolPackage{Name: "hello", Version: "1.0", Arch: "amd64"}
	file := filepath.Join(f.TempDir(), "hello.deb")
	f.Fuzz(func(t *testing.T, content []byte) {
		if err := os.WriteFile(file, content, 0o644); err != nil {
			t.Fatal(err)
		}
		p, err := readPackage(file, want)
		if err != nil {
			return
		}
		if p.Name != want.Name || p.Version != want.Version || p.Architecture != want.Arch {
			t.Errorf("it says to be %s %s %s", p.Name, p.Version, p.Architecture)
		}
		if dir, err := poolDir(p.GetField("$Source")); err == nil && !filepath.IsLocal(dir) {
			t.Errorf("its folder in the pool is %q", dir)
		}
	})
}

func FuzzDetached(f *testing.F) {
	key, err := apttest.NewKey("fuzz", worldTime, 0)
	if err != nil {
		f.Fatal(err)
	}
	public, err := key.Public()
	if err != nil {
		f.Fatal(err)
	}
	list, err := readArmored([]byte(public))
	if err != nil {
		f.Fatal(err)
	}
	k := &keyring{name: "fuzz", keys: list}
	f.Add([]byte("text"), []byte("\xc2\x05\x04\x00\x16\x0a\x00"))
	f.Add([]byte("text"), []byte("-----BEGIN PGP SIGNATURE-----\n\nwlwEABYKAA==\n-----END PGP SIGNATURE-----\n"))
	f.Fuzz(func(t *testing.T, text, signature []byte) {
		if _, err := k.detached(text, signature, worldTime); err == nil {
			t.Error("a signature of the fuzzer is good")
		} else if strings.TrimSpace(err.Error()) == "" {
			t.Error("it does not say why not")
		}
	})
}
