package cache_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/rcbops/rpcbuild/cache"
	"github.com/rcbops/rpcbuild/cache/cachetest"
	"github.com/rcbops/rpcbuild/cache/servertest"
	"github.com/rcbops/rpcbuild/store"
)

func openBackend(t *testing.T, url string, opts cache.Options) cache.Backend {
	t.Helper()
	b, err := cache.OpenBackend(url, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

func TestNginx(t *testing.T) {
	for _, scheme := range []string{"http", "https"} {
		t.Run(scheme, func(t *testing.T) {
			dir := t.TempDir()
			n := servertest.StartNginx(t, dir)
			url := n.HTTP
			if scheme == "https" {
				url = n.HTTPS
			}
			w, other := backend(t, dir).(cache.Writer), backend(t, dir).(cache.Writer)
			cachetest.TestBackend(t, w, other, openBackend(t, url, cache.Options{Roots: n.Roots}))
		})
	}
}

func TestSFTP(t *testing.T) {
	server := sshd(t)
	opts := cache.Options{Create: true, SSH: server.Options}
	w := openBackend(t, server.URL(""), opts).(cache.Writer)
	cachetest.TestBackend(t, w, openBackend(t, server.URL(""), opts).(cache.Writer), w)
}

func TestS3(t *testing.T) {
	server := s3(t)
	w := openBackend(t, server.URL("some/prefix"), cache.Options{}).(cache.Writer)
	cachetest.TestBackend(t, w, openBackend(t, server.URL("some/prefix"), cache.Options{}).(cache.Writer), w)
}

// remote is a repo on a server.
type remote struct {
	dir         string // on this machine
	write, read string // URLs
	opts        cache.Options
}

func remotes(t *testing.T) map[string]func(*testing.T) remote {
	return map[string]func(*testing.T) remote{
		"sftp": func(t *testing.T) remote {
			s := sshd(t)
			return remote{s.Dir, s.URL(""), s.URL(""), cache.Options{SSH: s.Options}}
		},
		"s3": func(t *testing.T) remote {
			s := s3(t)
			return remote{s.Dir, s.URL(""), s.URL(""), cache.Options{}}
		},
		"nginx": func(t *testing.T) remote {
			dir := t.TempDir()
			n := servertest.StartNginx(t, dir)
			return remote{dir, dir, n.HTTPS, cache.Options{Roots: n.Roots}}
		},
	}
}

// What is pushed to a server is there, every byte of it, and comes back; a second push of it sends
// nothing.
func TestRemotePushPull(t *testing.T) {
	for name, begin := range remotes(t) {
		t.Run(name, func(t *testing.T) {
			at, st := begin(t), openStore(t)
			rel := sample(t, st)
			push(t, openRepo(t, at.write, at.opts), st, rel, cache.PushOptions{})
			if again := push(t, openRepo(t, at.write, at.opts), st, rel, cache.PushOptions{}); again.Files != 0 {
				t.Errorf("a second push: %+v, want nothing", again)
			}
			r := openRepo(t, at.read, at.opts)
			got, err := r.Release(t.Context(), rel.Name)
			if err != nil {
				t.Fatal(err)
			}
			wantAll(t, r, got)
			other := openStore(t)
			if s, err := r.Pull(t.Context(), other, got, nil); err != nil || s.Artifacts != len(rel.Items) {
				t.Errorf("pull: %+v, %v, want %d artifacts", s, err, len(rel.Items))
			}
			ids := make([]store.ArtifactID, len(rel.Items))
			for i, it := range rel.Items {
				ids[i] = it.Artifact
			}
			if has, err := other.HasAll(ids); err != nil || len(has) != len(ids) {
				t.Errorf("the store has %d artifacts after the pull, %v, want %d", len(has), err, len(ids))
			}
		})
	}
}

// What is damaged at a consumer's path is found, and put back: also where that is a copy of a link's
// target, of which the place still has the tag.
func TestRemoteRepair(t *testing.T) {
	for name, begin := range remotes(t) {
		t.Run(name, func(t *testing.T) {
			at, st := begin(t), openStore(t)
			rel := sample(t, st)
			push(t, openRepo(t, at.write, at.opts), st, rel, cache.PushOptions{})
			for _, path := range []string{"pools/debian-13-x86_64/x/x.whl", "links/debian-13-x86_64/x.whl"} {
				damage(t, filepath.Join(at.dir, path))
				verdicts, err := openRepo(t, at.read, at.opts).Check(t.Context(), rel.Items, true)
				if err != nil || verdicts[0].State != cache.Wrong || !strings.Contains(verdicts[0].Reason, path) {
					t.Errorf("%s is damaged: %+v, %v", path, verdicts[0], err)
				}
				if _, err := openRepo(t, at.write, at.opts).Repair(t.Context(), st, cache.PushOptions{}); err != nil {
					t.Fatal(err)
				}
				if got := read(t, at.dir, path); got != "wheel x" {
					t.Errorf("%s is %q after a repair", path, got)
				}
				wantAll(t, openRepo(t, at.read, at.opts), rel)
			}
		})
	}
}

// damage changes a file, and none that it is a link to.
func damage(t *testing.T, file string) {
	t.Helper()
	content := []byte(read(t, file))
	content[0] ^= 1
	fi, err := os.Lstat(file)
	if err != nil {
		t.Fatal(err)
	}
	if !fi.Mode().IsRegular() || fi.Sys().(*syscall.Stat_t).Nlink > 1 {
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(file, content, 0o644); err != nil { // in place: with its tag, in versitygw's folder
		t.Fatal(err)
	}
}

func TestRemotePushersAtOnce(t *testing.T) {
	for name, begin := range remotes(t) {
		t.Run(name, func(t *testing.T) {
			at := begin(t)
			const pushers = 2
			var wg sync.WaitGroup
			for i := range pushers {
				st, r := openStore(t), openRepo(t, at.write, at.opts)
				rels := lineReleases(t, st, fmt.Sprintf("pusher%d", i))
				wg.Go(func() { pushEach(t, r, st, rels) })
			}
			wg.Wait()
			wantLines(t, at.dir, pushers)
		})
	}
}
