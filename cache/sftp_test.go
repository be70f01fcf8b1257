package cache_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/rcbops/rpcbuild/cache"
	"github.com/rcbops/rpcbuild/cache/servertest"
)

func hostKey(t *testing.T, s *servertest.SSHD) ssh.PublicKey {
	t.Helper()
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(read(t, s.Options.HostKeyFile)))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// A server is let in by its key alone: as a key, or in a known_hosts file with its host.
func TestSFTPHostKeys(t *testing.T) {
	s := sshd(t)
	key := hostKey(t, s)
	_, other := servertest.NewSSHKey(t, t.TempDir()+"/other")
	bare := func(k ssh.PublicKey) string { return string(ssh.MarshalAuthorizedKey(k)) }
	for name, tt := range map[string]struct{ file, want string }{
		"key":              {bare(key), ""},
		"key and comment":  {"# of the repo\n\n" + strings.TrimSpace(bare(key)) + " root@repo\n", ""},
		"one of two keys":  {bare(other) + bare(key), ""},
		"known host":       {knownhosts.Line([]string{s.Address}, key) + "\n", ""},
		"hashed host":      {knownhosts.Line([]string{knownhosts.HashHostname(knownhosts.Normalize(s.Address))}, key) + "\n", ""},
		"other key":        {bare(other), "is not the one that is known"},
		"other known host": {knownhosts.Line([]string{s.Address}, other) + "\n", "is not the one that is known"},
		"unknown host":     {knownhosts.Line([]string{"elsewhere:22"}, key) + "\n", "is unknown"},
		"revoked":          {"@revoked * " + bare(key), "revoked"},
		"nothing":          {"\n", "holds no key"},
		"no key":           {"key\n", "is no public key"},
		"both":             {bare(other) + knownhosts.Line([]string{s.Address}, key) + "\n", "either"},
	} {
		t.Run(name, func(t *testing.T) {
			opts := s.Options
			opts.HostKeyFile = write(t, t.TempDir()+"/known", []byte(tt.file))
			b, err := cache.OpenBackend(s.URL(""), cache.Options{Create: true, SSH: opts})
			if err == nil {
				defer b.Close()
				_, err = b.Stat(t.Context(), "file")
			}
			if tt.want == "" {
				if !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("stat: %v, want fs.ErrNotExist", err)
				}
			} else if err == nil || errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("stat: %v, want %q", err, tt.want)
			}
		})
	}
	if _, err := os.Stat(s.Dir); err != nil {
		t.Error("the folder was not made")
	}
}

func TestSFTPRefusals(t *testing.T) {
	s := sshd(t)
	opts := s.Options
	opts.KeyFile, _ = servertest.NewSSHKey(t, t.TempDir()+"/stranger")
	closed := servertest.FreePort(t)
	for name, tt := range map[string]struct {
		url, want string
		opts      cache.Options
	}{
		"a stranger's key": {s.URL(""), "authorized_keys", cache.Options{SSH: opts, Create: true}},
		"no folder":        {"sftp://" + s.Address + "/no/such/folder", "folder /no/such/folder", cache.Options{SSH: s.Options}},
		"a file":           {"sftp://" + s.Address + s.Options.KeyFile, "no folder", cache.Options{SSH: s.Options}},
		"nobody listens":   {"sftp://" + closed + "/repo", "refused", cache.Options{SSH: s.Options}},
	} {
		t.Run(name, func(t *testing.T) {
			b := openBackend(t, tt.url, tt.opts)
			_, _, err := b.Get(t.Context(), "file")
			if !errors.Is(err, cache.ErrUnreachable) || errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("get: %v, want cache.ErrUnreachable and %q", err, tt.want)
			}
		})
	}
	for name, change := range map[string]func(*cache.SSHOptions){
		"REPO_USER_KEY":    func(o *cache.SSHOptions) { o.KeyFile = "" },
		"no such file":     func(o *cache.SSHOptions) { o.KeyFile += ".none" },
		"ssh-keygen":       func(o *cache.SSHOptions) { o.KeyFile = o.HostKeyFile },
		"REPO_HOST_PUBKEY": func(o *cache.SSHOptions) { o.HostKeyFile = "" },
		"read host key":    func(o *cache.SSHOptions) { o.HostKeyFile += ".none" },
	} {
		opts := s.Options
		change(&opts)
		if _, err := cache.OpenBackend(s.URL(""), cache.Options{SSH: opts}); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("open: %v, want %q", err, name)
		}
	}
}

// Connections that break in the middle of anything: each operation is done in the end, once.
func TestSFTPReconnects(t *testing.T) {
	s := sshd(t)
	p := newProxy(t, s.Address)
	opts := cache.Options{Create: true, SSH: s.Options}
	w := openBackend(t, s.URL(p.address), opts).(cache.Writer)
	ctx := t.Context()
	content := make([]byte, 6<<20)
	rand.NewChaCha8([32]byte{2}).Read(content)
	for i := range 12 {
		// 3 KB is the handshake; later the connection breaks in requests, and then in the content.
		p.cut()
		p.breakAfter(3500 + 500*i + i*i*i*2000)
		var wg sync.WaitGroup
		name := fmt.Sprintf("broken/%d", i)
		time.AfterFunc(100*time.Millisecond, func() { p.breakAfter(0) })
		wg.Go(func() {
			if err := w.Create(ctx, name, io.MultiReader(bytes.NewReader(content))); err != nil {
				t.Errorf("create %s: %v", name, err)
			}
		})
		wg.Go(func() {
			err := w.Update(ctx, "index", 1<<20, func(old []byte) ([]byte, error) {
				if line := fmt.Sprintf("line %d\n", i); !bytes.Contains(old, []byte(line)) {
					return append(bytes.Clone(old), line...), nil
				}
				return old, nil
			})
			if err != nil {
				t.Errorf("update: %v", err)
			}
		})
		wg.Wait()
		p.breakAfter(0)
		if got := read(t, s.Dir, name); got != string(content) {
			t.Errorf("%s has other content than was written", name)
		}
		if err := w.Link(ctx, name+" link", name, false); err != nil {
			t.Error(err)
		}
	}
	if got := read(t, s.Dir, "index"); strings.Count(got, "\n") != 12 {
		t.Errorf("the index lost lines:\n%s", got)
	}
	if left, _ := filepath.Glob(s.Dir + "/cache/v1/.tmp/*"); len(left) > 0 {
		t.Errorf("temporary files are left: %q", left)
	}
}

// What is read goes on where the connection broke, and a server that stays away is ErrUnreachable.
func TestSFTPReadBreaksOff(t *testing.T) {
	s := sshd(t)
	p := newProxy(t, s.Address)
	w := openBackend(t, s.URL(""), cache.Options{Create: true, SSH: s.Options}).(cache.Writer)
	content := make([]byte, 6<<20)
	rand.NewChaCha8([32]byte{3}).Read(content)
	for _, name := range []string{"file", "moving"} {
		if err := w.Create(t.Context(), name, bytes.NewReader(content)); err != nil {
			t.Fatal(err)
		}
	}
	r := openBackend(t, s.URL(p.address), cache.Options{SSH: s.Options})
	begin := func(name string) io.ReadCloser {
		t.Helper()
		body, _, err := r.Get(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.CopyN(io.Discard, body, 1000); err != nil {
			t.Fatal(err)
		}
		p.cut()
		return body
	}
	body := begin("file")
	rest, err := io.ReadAll(body)
	if err := errors.Join(err, body.Close()); err != nil || !bytes.Equal(rest, content[1000:]) {
		t.Errorf("read on: %d bytes, %v", len(rest), err)
	}
	body = begin("moving")
	if err := w.Replace(t.Context(), "moving", bytes.NewReader(content[1:])); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(body); err == nil || !strings.Contains(err.Error(), "was replaced") {
		t.Errorf("read on in another file: %v, want an error", err)
	}
	body.Close()
	body = begin("file")
	s.Stop()
	if _, err := io.ReadAll(body); !errors.Is(err, cache.ErrUnreachable) {
		t.Errorf("read from a server that went: %v, want cache.ErrUnreachable", err)
	}
	body.Close()
}

// A file that replaces another is later by at least a second, whatever the clocks say: web servers
// tell a change by that.
func TestSFTPTimeMoves(t *testing.T) {
	s := sshd(t)
	w := openBackend(t, s.URL(""), cache.Options{Create: true, SSH: s.Options}).(cache.Writer)
	var last time.Time
	for i := range 4 {
		write := func(old []byte) ([]byte, error) { return fmt.Appendf(nil, "%d", i), nil }
		if err := w.Update(t.Context(), "file", 10, write); err != nil {
			t.Fatal(err)
		}
		fi, err := os.Stat(s.Dir + "/file")
		if err != nil {
			t.Fatal(err)
		}
		if fi.ModTime().Unix() <= last.Unix() {
			t.Errorf("the file of %s was replaced by one of %s", last, fi.ModTime())
		}
		if fi.Mode().Perm() != 0o444 {
			t.Errorf("mode %s, want read-only for all", fi.Mode())
		}
		last = fi.ModTime()
	}
}

// What a crashed writer left is swept after a day, and not before.
func TestSFTPSweeps(t *testing.T) {
	s := sshd(t)
	dir := s.Dir + "/cache/v1/.tmp"
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, age := range map[string]time.Duration{"old": 25 * time.Hour, "young": 23 * time.Hour} {
		file := write(t, dir+"/"+name, nil)
		if err := os.Chtimes(file, time.Now().Add(-age), time.Now().Add(-age)); err != nil {
			t.Fatal(err)
		}
	}
	w := openBackend(t, s.URL(""), cache.Options{Create: true, SSH: s.Options}).(cache.Writer)
	if err := w.Create(t.Context(), "file", strings.NewReader("x")); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 || entries[0].Name() != "young" {
		t.Errorf("after the sweep: %v, %v, want the young file alone", entries, err)
	}
}

// addLine is what an updater does to a file.
func addLine(line string) func([]byte) ([]byte, error) {
	return func(old []byte) ([]byte, error) { return fmt.Appendf(bytes.Clone(old), "%s\n", line), nil }
}

// A lock is left alone while its holder lives, however long; and taken over, once, when it is dead.
func TestSFTPLease(t *testing.T) {
	s := sshd(t)
	const lease = 1500 * time.Millisecond // long enough for a machine that is busy
	machine := func() cache.Writer {
		b := openBackend(t, s.URL(""), cache.Options{Create: true, SSH: s.Options})
		cache.LeaseTime(b, lease)
		return b.(cache.Writer)
	}
	holder := machine()
	life, die := context.WithCancel(t.Context())
	defer die()
	if err := cache.TakeLock(life, holder, "file"); err != nil {
		t.Fatal(err)
	}
	if err := machine().Update(t.Context(), "other file", 100, addLine("free")); err != nil {
		t.Errorf("update of another file: %v", err)
	}
	var wg sync.WaitGroup
	var dead atomic.Bool
	for i := range 4 {
		w := machine()
		wg.Go(func() {
			err := w.Update(t.Context(), "file", 100, func(old []byte) ([]byte, error) {
				if !dead.Load() {
					t.Error("a lock was taken over whose holder lives")
				}
				return addLine(fmt.Sprint("line ", i))(old)
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	time.Sleep(2 * lease)
	dead.Store(true)
	die()
	wg.Wait()
	if got := read(t, s.Dir, "file"); strings.Count(got, "\n") != 4 {
		t.Errorf("after a takeover: %q, want 4 lines", got)
	}
}

// A holder that was away for so long that others took over starts again with what they wrote.
func TestSFTPLeaseLost(t *testing.T) {
	s := sshd(t)
	w := openBackend(t, s.URL(""), cache.Options{Create: true, SSH: s.Options}).(cache.Writer)
	tries := 0
	err := w.Update(t.Context(), "file", 100, func(old []byte) ([]byte, error) {
		if tries++; tries == 1 {
			locks, err := filepath.Glob(s.Dir + "/cache/v1/.tmp/lock-*")
			if err != nil || len(locks) != 1 {
				t.Fatalf("locks: %q, %v, want one", locks, err)
			}
			if err := os.Remove(locks[0]); err != nil {
				t.Fatal(err)
			}
			other := openBackend(t, s.URL(""), cache.Options{SSH: s.Options}).(cache.Writer)
			if err := other.Update(t.Context(), "file", 100, addLine("other")); err != nil {
				t.Fatal(err)
			}
		}
		return addLine("ours")(old)
	})
	if got := read(t, s.Dir, "file"); err != nil || tries != 2 || got != "other\nours\n" {
		t.Errorf("update: %v, %d tries, %q, want both lines in 2 tries", err, tries, got)
	}
	if left, _ := filepath.Glob(s.Dir + "/cache/v1/.tmp/*"); len(left) > 0 {
		t.Errorf("temporary files are left: %q", left)
	}
}
