package cache_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rcbops/rpcbuild/cache"
	"github.com/rcbops/rpcbuild/store"
)

// noise returns n bytes that only seed gives.
func noise(seed byte, n int) string {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{seed}).Read(b)
	return string(b)
}

// images is a release of images with these published root file systems.
func images(t *testing.T, st *store.Store, release string, rootfs ...string) cache.Release {
	rel := cache.Release{Name: release, Lock: []byte("lock of " + release + "\n")}
	for i, content := range rootfs {
		name := fmt.Sprintf("image/%d", i)
		it := add(t, st, name+" of "+release, "a", map[string]string{"rootfs.tar.xz": content}, store.Manifest{
			Publish: []store.Publication{{Path: "lxc-images/" + release + "/" + name + "/rootfs.tar.xz", File: "rootfs.tar.xz"}},
		})
		it.Name, it.Kind = name, "image"
		rel.Items = append(rel.Items, it)
	}
	return rel
}

// Of published root file systems that share a base, what is shared is sent once, and of the next release's, what
// moved; and so it comes into a store.
func TestPublishedIsShared(t *testing.T) {
	base, role := noise(1, 40<<20), noise(2, 10<<20)
	moved := base[:15<<20] + noise(3, 1<<20) + base[16<<20:]
	for name, begin := range remotes(t) {
		if name == "nginx" {
			continue // a folder is not sent anything
		}
		t.Run(name, func(t *testing.T) {
			at, st := begin(t), openStore(t)
			first := images(t, st, "r1", base, base+role)
			second := images(t, st, "r2", moved, moved+role)
			const room = 11 << 20 // S3 copies no less than 5 MiB, in each of two images
			read, to := at.opts, openStore(t)
			read.Dir = t.TempDir()
			for i, rel := range []cache.Release{first, second} {
				want := []int64{50 << 20, 1 << 20}[i]
				stats := push(t, openRepo(t, at.write, at.opts), st, rel, cache.PushOptions{})
				if stats.Bytes > want+room {
					t.Errorf("push of %s: %d MB were sent, want some %d", rel.Name, stats.Bytes>>20, want>>20)
				}
				r := openRepo(t, at.read, read)
				wantAll(t, r, rel)
				pulled, err := r.Pull(t.Context(), to, rel, nil)
				if err != nil {
					t.Fatal(err)
				}
				if pulled.Bytes > want+1<<20 {
					t.Errorf("pull of %s: %d MB came, want some %d", rel.Name, pulled.Bytes>>20, want>>20)
				}
				wantSame(t, st, to, rel.Items)
			}
		})
	}
}

// What is to be copied may be gone, or not be what somebody wrote it is: then all is sent.
func TestPublishedIsSharedInVain(t *testing.T) {
	base := noise(1, 20<<20)
	for name, spoil := range map[string]func(t *testing.T, dir string){
		"content is gone": func(t *testing.T, dir string) {
			remove(t, filepath.Join(dir, "cache/v1/blob/*"))
		},
		"lists are wrong": func(t *testing.T, dir string) {
			remove(t, filepath.Join(dir, "cache/v1/bundle/*"))
			for _, list := range glob(t, filepath.Join(dir, "cache/v1/cuts/*")) {
				if err := os.WriteFile(list, []byte(strings.Repeat("x", 99)), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := sshd(t)
			opts, st := cache.Options{SSH: s.Options}, openStore(t)
			push(t, openRepo(t, s.URL(""), opts), st, images(t, st, "r1", base), cache.PushOptions{})
			spoil(t, s.Dir)
			rel := images(t, st, "r2", base+"more")
			if stats := push(t, openRepo(t, s.URL(""), opts), st, rel, cache.PushOptions{}); stats.Bytes < 20<<20 {
				t.Errorf("%d bytes were sent, want all", stats.Bytes)
			}
			wantAll(t, openRepo(t, s.URL(""), opts), rel)
		})
	}
}

// A list that says of content that it is what the store has already is not believed.
func TestPiecesAreNotBelieved(t *testing.T) {
	dir, st, to := t.TempDir(), openStore(t), openStore(t)
	first, second := images(t, st, "r1", noise(1, 9<<20)), images(t, st, "r2", noise(2, 9<<20))
	for _, rel := range []cache.Release{first, second} {
		push(t, openRepo(t, dir, cache.Options{}), st, rel, cache.PushOptions{})
	}
	remove(t, filepath.Join(dir, "cache/v1/bundle/*"))
	lists := glob(t, filepath.Join(dir, "cache/v1/cuts/*"))
	one, other := read(t, lists[0]), read(t, lists[1])
	for i, text := range []string{other, one} {
		if err := errors.Join(os.Remove(lists[i]), os.WriteFile(lists[i], []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	r := openRepo(t, serve(t, dir), cache.Options{Dir: t.TempDir()})
	for _, rel := range []cache.Release{first, second} {
		if _, err := r.Pull(t.Context(), to, rel, nil); err != nil {
			t.Error(err)
		}
		wantSame(t, st, to, rel.Items)
	}
}

func glob(t *testing.T, pattern string) []string {
	t.Helper()
	names, err := filepath.Glob(pattern)
	if err != nil || len(names) == 0 {
		t.Fatalf("nothing is %s: %v", pattern, err)
	}
	return names
}

func remove(t *testing.T, pattern string) {
	t.Helper()
	for _, name := range glob(t, pattern) {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
}

// Large content that was cut off, or changed, on the server is refused, and nothing of it is in the store.
func TestPiecesOfWrongContent(t *testing.T) {
	content := noise(1, 9<<20)
	for name, change := range map[string]func(string) string{
		"cut off":      func(s string) string { return s[:5<<20] },
		"cut off late": func(s string) string { return s[:9<<20-1] },
		"flipped":      func(s string) string { return s[:7<<20] + string(s[7<<20]^1) + s[7<<20+1:] },
	} {
		t.Run(name, func(t *testing.T) {
			dir, st, to := t.TempDir(), openStore(t), openStore(t)
			rel := images(t, st, "r1", content)
			push(t, openRepo(t, dir, cache.Options{}), st, rel, cache.PushOptions{})
			file := glob(t, filepath.Join(dir, "cache/v1/blob/*"))[0]
			if err := errors.Join(os.Remove(file), os.WriteFile(file, []byte(change(content)), 0o644)); err != nil {
				t.Fatal(err)
			}
			for _, url := range []string{dir, serve(t, dir)} {
				_, err := openRepo(t, url, cache.Options{}).Pull(t.Context(), to, rel, nil)
				var wrong *cache.WrongError
				if !errors.As(err, &wrong) || !strings.Contains(wrong.Path, "cache/v1/blob/") {
					t.Errorf("%s: %v, want a *cache.WrongError of the content", url, err)
				}
				if to.HasBlob(store.HashBlob([]byte(content))) {
					t.Error("it is in the store")
				}
				wantNothingWrong(t, to, rel.Items[0])
			}
		})
	}
}
