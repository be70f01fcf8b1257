package archive

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// capability is security.capability as setcap cap_net_raw+ep writes it.
var capability = []byte("\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00")

const clamp = 1_000_000_000

func do(t *testing.T, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

func write(t *testing.T, root string, o Options) []byte {
	t.Helper()
	var b bytes.Buffer
	do(t, Write(&b, root, o))
	return b.Bytes()
}

// plainTree is a tree that anybody can make.
func plainTree(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	do(t,
		os.Mkdir(filepath.Join(root, "a"), 0o755),
		os.WriteFile(filepath.Join(root, "a", "file"), []byte("content\n"), 0o644),
		os.WriteFile(filepath.Join(root, "a-b"), nil, 0o600),
		os.Link(filepath.Join(root, "a", "file"), filepath.Join(root, "second")),
		os.Symlink("a/file", filepath.Join(root, "link")),
		os.WriteFile(filepath.Join(root, strings.Repeat("long", 30)), []byte("x"), 0o755),
		os.Chtimes(filepath.Join(root, "a", "file"), time.Time{}, time.Unix(12345, 678)),
	)
	return root
}

func TestWriteGolden(t *testing.T) {
	root := plainTree(t)
	b := write(t, root, Options{Prefix: "p/", Clamp: clamp, Root: true})
	sum := sha256.Sum256(b)
	const want = "eb726ce4c1475fa85f4b596f6031d230eb8122ad85e8266986f4de72a54ed557"
	if got := hex.EncodeToString(sum[:]); got != want {
		t.Errorf("the canonical form changed: every root file system gets another id: got %s", got)
	}
	names := listWithTar(t, b)
	long := "p/" + strings.Repeat("long", 30)
	if want := []string{"p/", "p/a/", "p/a-b", "p/a/file", "p/link", long, "p/second"}; !slices.Equal(names, want) {
		t.Errorf("got members %q, want %q", names, want)
	}
}

// listWithTar has GNU tar read what we wrote.
func listWithTar(t *testing.T, b []byte) []string {
	t.Helper()
	cmd := exec.Command("tar", "-t")
	cmd.Stdin = bytes.NewReader(b)
	out, err := cmd.Output()
	do(t, err)
	return strings.Fields(string(out))
}

func TestWriteDoesNotDependOnOrderOrPlace(t *testing.T) {
	o := Options{Clamp: clamp, Root: true}
	first := write(t, plainTree(t), o)
	if again := write(t, plainTree(t), o); !bytes.Equal(first, again) {
		t.Error("two equal trees gave different tars")
	}
}

func TestWriteSkips(t *testing.T) {
	b := write(t, plainTree(t), Options{Skip: func(rel string, _ fs.DirEntry) bool { return rel == "a" || rel == "link" }})
	for _, name := range listWithTar(t, b) {
		if name == "link" || strings.HasPrefix(name, "a/") {
			t.Errorf("%s was to be left out", name)
		}
	}
}

func TestWriteRefuses(t *testing.T) {
	root := t.TempDir()
	do(t, os.WriteFile(filepath.Join(root, "file"), nil, 0o644))
	for _, c := range []struct{ root, prefix string }{
		{root, "no-slash"}, {filepath.Join(root, "absent"), ""}, {filepath.Join(root, "file"), ""},
	} {
		if err := Write(new(bytes.Buffer), c.root, Options{Prefix: c.prefix}); err == nil {
			t.Errorf("Write(%q, prefix %q) succeeded", c.root, c.prefix)
		}
	}
}

// rootTree has everything that only root can make.
func rootTree(t *testing.T) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("owners, devices and capabilities need root")
	}
	// Not t.TempDir: a tmpfs may have no user extended attributes.
	root, err := os.MkdirTemp("/var/tmp", "archive")
	do(t, err)
	t.Cleanup(func() { os.RemoveAll(root) })
	in := func(name string) string { return filepath.Join(root, name) }
	do(t,
		os.Mkdir(in("dir"), 0o755),
		os.WriteFile(in("dir/setuid"), []byte("x"), 0o755),
		os.Chown(in("dir/setuid"), 3_000_000, 42),
		unix.Chmod(in("dir/setuid"), 0o4755),
		os.WriteFile(in("dir/cap"), []byte("y"), 0o755),
		unix.Setxattr(in("dir/cap"), "security.capability", capability, 0),
		unix.Setxattr(in("dir/cap"), "user.note", []byte("a=b\x00c"), 0),
		unix.Mknod(in("null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))),
		unix.Mknod(in("disk"), unix.S_IFBLK|0o660, int(unix.Mkdev(300, 70_000))),
		unix.Mkfifo(in("fifo"), 0o600),
		unix.Mknod(in("socket"), unix.S_IFSOCK|0o600, 0),
		os.Symlink("/absolute", in("link")),
		os.Lchown(in("link"), 7, 8),
		unix.Mkdir(in("sticky"), 0o777),
		unix.Chmod(in("sticky"), 0o1777),
		unix.Chmod(in("null"), 0o666),
	)
	if err := exec.Command("setfacl", "-m", "u:5:rwx", in("sticky")).Run(); err != nil {
		t.Log("without a POSIX ACL: setfacl is missing (Debian package acl)")
	}
	old := unix.NsecToTimeval(5 * int64(time.Second))
	do(t, unix.Lutimes(in("link"), []unix.Timeval{old, old}))
	return root
}

func TestRoundTripAsRoot(t *testing.T) {
	root := rootTree(t)
	first := write(t, root, Options{Clamp: clamp})
	copied, err := os.MkdirTemp("/var/tmp", "archive")
	do(t, err)
	t.Cleanup(func() { os.RemoveAll(copied) })
	do(t, Unpack(bytes.NewReader(first), copied))
	if again := write(t, copied, Options{Clamp: clamp}); !bytes.Equal(first, again) {
		t.Error("unpacking lost something")
	}
	if _, err := os.Lstat(filepath.Join(copied, "socket")); err == nil {
		t.Error("a socket was written")
	}
	var st unix.Stat_t
	do(t, unix.Lstat(filepath.Join(copied, "dir/setuid"), &st))
	if st.Uid != 3_000_000 || st.Gid != 42 || st.Mode&0o7777 != 0o4755 {
		t.Errorf("got owner %d:%d mode %o", st.Uid, st.Gid, st.Mode)
	}
	do(t, unix.Lstat(filepath.Join(copied, "link"), &st))
	if st.Mtim.Sec != 5 || st.Uid != 7 {
		t.Errorf("link: got mtime %d owner %d", st.Mtim.Sec, st.Uid)
	}
	got := make([]byte, 64)
	n, err := unix.Lgetxattr(filepath.Join(copied, "dir/cap"), "security.capability", got)
	if err != nil || !bytes.Equal(got[:n], capability) {
		t.Errorf("capability: got %q, %v", got[:n], err)
	}
}

func TestRoundTripIsReadByTar(t *testing.T) {
	b := write(t, rootTree(t), Options{Clamp: clamp})
	dir := t.TempDir()
	cmd := exec.Command("tar", "-xp", "--numeric-owner", "--xattrs", "--xattrs-include=*", "-C", dir)
	cmd.Stdin = bytes.NewReader(b)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("tar: %v\n%s", err, out)
	}
	if again := write(t, dir, Options{Clamp: clamp}); !bytes.Equal(b, again) {
		t.Error("GNU tar read something else than was written")
	}
}

func BenchmarkWrite(b *testing.B) {
	root := b.TempDir()
	for i := range 2000 {
		dir := filepath.Join(root, fmt.Sprint(i/20))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			b.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), make([]byte, 85_000), 0o644); err != nil {
			b.Fatal(err)
		}
	}
	b.SetBytes(2000 * 85_000)
	for b.Loop() {
		if err := Write(io.Discard, root, Options{}); err != nil {
			b.Fatal(err)
		}
	}
}
