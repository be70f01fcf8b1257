package apt

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rcbops/rpcbuild/derive/download"
	"github.com/rcbops/rpcbuild/recipes/apt/apttest"
)

// world is a small upstream on loopback, with a definition that reads it.
type world struct {
	t       *testing.T
	dir     string // of the archive
	recipes string
	key     *apttest.Key
	server  *apttest.Server
	def     *Definition
	client  *download.Client
	now     time.Time
}

var worldTime = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func newWorld(t *testing.T) *world {
	w := &world{t: t, dir: t.TempDir(), recipes: t.TempDir(), client: download.New(nil), now: worldTime.Add(time.Hour)}
	w.client.Stall(200 * time.Millisecond)
	w.key = w.newKey("archive", 24*time.Hour)
	w.trust(w.key)
	w.server = apttest.Serve(w.dir)
	t.Cleanup(w.server.Close)
	m := Mirror{Archive: w.server.URL, Suite: "stable", Components: []string{"main"}, Keyring: "key.asc", Filter: "app", Dependencies: true}
	security := Mirror{Archive: w.server.URL, Suite: "stable-security", Components: []string{"main"}, Keyring: "key.asc", Updates: "stable"}
	w.def = &Definition{
		Architectures: []string{"amd64"},
		Mirrors:       map[string]Mirror{"stable": m, "security": security},
		Integrated:    []string{"stable", "security"},
		Independent:   map[string][]string{"security": {"security"}},
	}
	w.write("stable", debOf("app", "1", "Depends", "lib"), debOf("lib", "1"), debOf("unrelated", "1"))
	w.write("stable-security", debOf("lib", "1+sec", "Depends", "needed"), debOf("needed", "1"), debOf("other", "1"))
	return w
}

// debOf returns a package with the given fields, as name, value, name, value.
func debOf(name, version string, fields ...string) apttest.Deb {
	d := apttest.Deb{Name: name, Version: version, Arch: "amd64", Fields: map[string]string{}}
	for i := 0; i < len(fields); i += 2 {
		d.Fields[fields[i]] = fields[i+1]
	}
	return d
}

func (w *world) check(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) newKey(name string, lifetime time.Duration) *apttest.Key {
	k, err := apttest.NewKey(name, worldTime, lifetime)
	w.check(err)
	return k
}

func (w *world) trust(k *apttest.Key) {
	text, err := k.Public()
	w.check(err)
	w.check(os.WriteFile(filepath.Join(w.recipes, "key.asc"), []byte(text), 0o644))
}

func (w *world) write(suite string, debs ...apttest.Deb) {
	w.check(apttest.Suite{Name: suite, Arch: "amd64", Date: worldTime, Key: w.key, Debs: debs}.Write(w.dir))
}

func (w *world) resolve(old *Lock, move ...string) (*Lock, error) {
	r := &Resolver{
		RecipesDir: w.recipes, Client: w.client, Archive: Archives("/nonexistent"),
		Now: func() time.Time { return w.now }, Log: w.t.Logf,
	}
	w.server.Requests()
	return r.Resolve(context.Background(), w.def, old, move)
}

func ids(l *Lock, mirror string) string {
	var list []string
	for _, p := range l.Mirrors[mirror].Packages {
		list = append(list, p.ID())
	}
	return strings.Join(list, " ")
}

func TestResolve(t *testing.T) {
	w := newWorld(t)
	lock, err := w.resolve(nil)
	w.check(err)
	if got, want := ids(lock, "stable"), "app_1_amd64 lib_1_amd64"; got != want {
		t.Errorf("stable has %s, want %s", got, want)
	}
	if got, want := ids(lock, "security"), "lib_1+sec_amd64 needed_1_amd64"; got != want {
		t.Errorf("security has %s, want %s", got, want)
	}
	content, err := json.Marshal(lock)
	w.check(err)
	if strings.Contains(string(content), w.server.URL) {
		t.Error("the lock holds a URL")
	}
	w.check(lock.Check(w.def))
	t.Run("again", func(t *testing.T) {
		again, err := w.resolve(lock)
		w.check(err)
		if diff := cmp.Diff(lock, again); diff != "" {
			t.Error(diff)
		}
		if r := w.server.Requests(); len(r) > 0 {
			t.Errorf("upstream was asked for %v", r)
		}
	})
	t.Run("unchanged upstream", func(t *testing.T) {
		again, err := w.resolve(lock, "security")
		w.check(err)
		if diff := cmp.Diff(lock, again); diff != "" {
			t.Error(diff)
		}
		got := w.server.Requests()
		slices.Sort(got)
		if diff := cmp.Diff([]string{"/dists/stable-security/InRelease", "/dists/stable/InRelease"}, got); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("moved upstream", func(t *testing.T) {
		w.write("stable", debOf("app", "2"))
		same, err := w.resolve(lock)
		w.check(err)
		if diff := cmp.Diff(lock, same); diff != "" {
			t.Error(diff)
		}
		moved, err := w.resolve(lock, "stable")
		w.check(err)
		if got, want := ids(moved, "stable"), "app_2_amd64"; got != want {
			t.Errorf("stable has %s, want %s", got, want)
		}
		if got := ids(moved, "security"); got != "" {
			t.Errorf("security has %s, want nothing", got)
		}
	})
	t.Run("other definition", func(t *testing.T) {
		m := w.def.Mirrors["stable"]
		m.Filter = "app | unrelated"
		w.def.Mirrors["stable"] = m
		if err := lock.Check(w.def); err == nil || !strings.Contains(err.Error(), "mirror stable: it was made for another filter") {
			t.Errorf("got %v", err)
		}
		w.write("stable", debOf("app", "1"), debOf("unrelated", "1"))
		again, err := w.resolve(lock)
		w.check(err)
		if got, want := ids(again, "stable"), "app_1_amd64 unrelated_1_amd64"; got != want {
			t.Errorf("stable has %s, want %s", got, want)
		}
	})
}

func TestResolveDetached(t *testing.T) {
	w := newWorld(t)
	w.check(apttest.Suite{Name: "stable", Arch: "amd64", Date: worldTime, Key: w.key, Debs: []apttest.Deb{debOf("app", "1")}, Plain: true}.Write(w.dir))
	lock, err := w.resolve(nil)
	w.check(err)
	if got := ids(lock, "stable"); got != "app_1_amd64" || len(lock.Mirrors["stable"].SignedBy) != 1 {
		t.Errorf("got %s, signed by %v", got, lock.Mirrors["stable"].SignedBy)
	}
}

func TestResolveRefuses(t *testing.T) {
	const index = "/stable/main/binary-amd64/Packages.gz"
	change := func(suite, from, to string) func(*world) {
		return func(w *world) {
			file := filepath.Join(w.dir, "dists", suite)
			content, err := os.ReadFile(file)
			w.check(err)
			w.check(os.WriteFile(file, []byte(strings.Replace(string(content), from, to, 1)), 0o644))
		}
	}
	for _, test := range []struct {
		name   string
		breaks func(*world)
		want   []string
	}{
		{"unknown key", func(w *world) { w.trust(w.newKey("other", 0)) }, []string{"mirror s", "it is signed by key ", "keyring key.asc does not have it"}},
		{"bad signature", change("stable/InRelease", "Origin: Test", "Origin: Tost"), []string{"mirror stable", "key.asc"}},
		{"bad detached signature", func(w *world) {
			w.check(apttest.Suite{Name: "stable", Arch: "amd64", Date: worldTime, Key: w.key, Plain: true}.Write(w.dir))
			change("stable/Release", "Origin: Test", "Origin: Tost")(w)
		}, []string{"mirror stable", "key.asc"}},
		{"not signed", func(w *world) {
			w.check(os.WriteFile(filepath.Join(w.dir, "dists/stable/InRelease"), []byte("Origin: Test\n"), 0o644))
		}, []string{"mirror stable", "it is not signed"}},
		{"expired key", func(w *world) { w.now = worldTime.Add(48 * time.Hour) }, []string{"mirror s", "key.asc", "expired"}},
		{"no keyring", func(w *world) { w.check(os.Remove(filepath.Join(w.recipes, "key.asc"))) }, []string{"mirror s", "key.asc", "there is no keyring"}},
		{"empty keyring", func(w *world) {
			w.check(os.WriteFile(filepath.Join(w.recipes, "key.asc"), nil, 0o644))
		}, []string{"mirror s", "key.asc", "no public key"}},
		{"no suite", func(w *world) { w.check(os.RemoveAll(filepath.Join(w.dir, "dists/stable"))) }, []string{"mirror stable", "404", "is there a suite stable?"}},
		{"no index", func(w *world) { w.server.Break(index, apttest.NotFound) }, []string{"mirror stable", index, "404"}},
		{"index truncated", func(w *world) { w.server.Break(index, apttest.Truncated) }, []string{"mirror stable", index, "unexpected EOF"}},
		{"index corrupt", func(w *world) { w.server.Break(index, apttest.Corrupt) }, []string{"mirror stable", index, "want sha256:"}},
		{"release slow", func(w *world) { w.server.Break("stable/InRelease", apttest.Silent) }, []string{"mirror stable", "no byte for", "stopped sending"}},
		{"no server", func(w *world) { w.server.Close() }, []string{"mirror s", "connection refused"}},
		{"no component", func(w *world) {
			m := w.def.Mirrors["stable"]
			m.Components = []string{"contrib"}
			w.def.Mirrors["stable"] = m
		}, []string{"mirror stable", "no index of component contrib for amd64", "components main"}},
		{"host without archive", func(w *world) {
			m := w.def.Mirrors["stable"]
			m.Archive = Host
			w.def.Mirrors["stable"] = m
		}, []string{"mirror stable", "archive setting"}},
		{"two contents", func(w *world) {
			w.write("stable-security", debOf("lib", "1", "Depends", "other"))
		}, []string{"package lib_1_amd64", "mirrors stable and security", "different content"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel() // most of the time goes to waiting for what does not answer
			w := newWorld(t)
			test.breaks(w)
			_, err := w.resolve(nil)
			if err == nil {
				t.Fatal("no error")
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("got %v, want %q in it", err, want)
				}
			}
		})
	}
}

func TestReleaseRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"Suite: x\nMD5Sum:\n 00 1 main/Packages\n": "weaker sums are not accepted",
		"Suite: x\nSHA256:\n 00 1 main/Packages\n": "main/Packages",
		"Suite: x\nSHA256:\n 00\n":                 "line",
		"what":                                     "no field",
	} {
		if _, err := parseRelease([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %s", text, err, want)
		}
	}
}

func FuzzRelease(f *testing.F) {
	f.Add("Architectures: all amd64\nAcquire-By-Hash: yes\nSHA256:\n " + strings.Repeat("0", 64) + " 5 main/binary-amd64/Packages.xz\n")
	f.Fuzz(func(t *testing.T, text string) {
		r, err := parseRelease([]byte(text))
		if err == nil {
			_, _ = r.indexes([]string{"main"}, []string{"amd64"})
		}
	})
}

func FuzzKeyring(f *testing.F) {
	f.Add([]byte("-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nmDMEZ+\n-----END PGP PUBLIC KEY BLOCK-----\n"), []byte("-----BEGIN PGP SIGNED MESSAGE-----\n"))
	f.Fuzz(func(t *testing.T, keys, signed []byte) {
		list, err := readArmored(keys)
		if err != nil {
			return
		}
		k := &keyring{name: "fuzz", keys: list}
		if _, _, err := k.clearsigned(signed, worldTime); err == nil {
			t.Fatal("a signature of the fuzzer is good")
		}
	})
}
