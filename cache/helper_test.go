package cache_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rcbops/rpcbuild/cache"
	"github.com/rcbops/rpcbuild/cache/servertest"
	"github.com/rcbops/rpcbuild/store"
)

func openStore(t *testing.T) *store.Store {
	t.Helper()
	st, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	return st
}

func openRepo(t *testing.T, url string, opts cache.Options) *cache.Repo {
	t.Helper()
	opts.Create = true
	r, err := cache.Open(url, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

// add puts an artifact into the store as if name had been built there. The derivation is decided by
// name alone.
func add(t *testing.T, st *store.Store, name, builder string, files map[string]string, m store.Manifest) cache.Item {
	t.Helper()
	dir, err := st.TempDir("test")
	if err != nil {
		t.Fatal(err)
	}
	var size int64
	for file, content := range files {
		full := filepath.Join(dir, file)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		size += int64(len(content))
	}
	id, err := st.AddTree(t.Context(), dir, &m)
	if err != nil {
		t.Fatal(err)
	}
	drv, err := st.PutDerivation(fmt.Appendf(nil, "{%q:%q}", "name", name))
	if err != nil {
		t.Fatal(err)
	}
	kind, _, _ := strings.Cut(name, "/")
	err = st.AddRealisation(store.Realisation{
		Drv: drv, Artifact: id, Builder: builder, Tool: "test", Time: time.Unix(1700000000, 0).UTC(), Seconds: 1.5, Size: size,
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return cache.Item{Name: name, Kind: kind, Drv: drv, Artifact: id}
}

// sample is a release with one of everything.
func sample(t *testing.T, st *store.Store) cache.Release {
	t.Helper()
	rootfs := strings.Repeat("a file system that compresses well\n", 1800)
	return cache.Release{Name: "r1.0.0", Lock: []byte("lock: 1\n"), Items: []cache.Item{
		add(t, st, "wheel/x", "a", map[string]string{"x.whl": "wheel x"}, store.Manifest{
			Publish: []store.Publication{
				{Path: "pools/debian-13-x86_64/x/x.whl", File: "x.whl"},
				{Path: "links/debian-13-x86_64/x.whl", Link: "pools/debian-13-x86_64/x/x.whl"},
			},
		}),
		add(t, st, "chroot/base", "a", map[string]string{"rootfs.tar": rootfs, "small": "s"}, store.Manifest{}),
		add(t, st, "image/base", "a", map[string]string{"rootfs.tar.xz": rootfs[:40000], "same": rootfs}, store.Manifest{
			Publish: []store.Publication{{Path: "lxc-images/debian/1/rootfs.tar.xz", File: "rootfs.tar.xz"}},
			Lines:   []store.Line{{File: "meta/1.0/index-system", Key: "debian;base", Line: "debian;base;1;/lxc-images/debian/1/"}},
		}),
		add(t, st, "list/release", "a", map[string]string{"MANIFEST.in": "pools/debian-13-x86_64/x/x.whl\n"}, store.Manifest{
			Publish: []store.Publication{{Path: "os-releases/r1.0.0/MANIFEST.in", File: "MANIFEST.in"}},
		}),
	}}
}

func push(t *testing.T, r *cache.Repo, st *store.Store, rel cache.Release, opts cache.PushOptions) cache.PushStats {
	t.Helper()
	stats, err := r.Push(t.Context(), st, rel, opts)
	if err != nil {
		t.Fatal(err)
	}
	return stats
}

// wantAll checks every byte of a release in the repo.
func wantAll(t *testing.T, r *cache.Repo, rel cache.Release) {
	t.Helper()
	verdicts, err := r.Check(t.Context(), rel.Items, true)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range verdicts {
		if v.State != cache.Present {
			t.Errorf("%s is %s: %s", v.Item.Name, v.State, v.Reason)
		}
	}
}

func read(t *testing.T, elem ...string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(elem...))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func write(t *testing.T, file string, content []byte) string {
	t.Helper()
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// sshd starts an SSH server with an empty place for a repo.
func sshd(t *testing.T) *servertest.SSHD {
	t.Helper()
	return servertest.StartSSHD(t, t.TempDir()+"/repo")
}

// s3 starts an S3 server, and sets its credentials in the environment.
func s3(t *testing.T) *servertest.S3 {
	t.Helper()
	t.Setenv("AWS_ACCESS_KEY_ID", servertest.S3Key)
	t.Setenv("AWS_SECRET_ACCESS_KEY", servertest.S3Secret)
	return servertest.StartS3(t, t.TempDir())
}
