package container

import (
	"bytes"
	"context"
	"encoding/json"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rcbops/rpcbuild/derive"
	"github.com/rcbops/rpcbuild/derive/archive"
	"github.com/rcbops/rpcbuild/derive/sandbox/sandboxtest"
	"github.com/rcbops/rpcbuild/store"
)

// writeTree makes files of pseudo-random content, some larger than a chunk, and the tar of them.
func writeTree(t *testing.T, target string, names ...string) []byte {
	t.Helper()
	dir := t.TempDir()
	for _, name := range names {
		random := rand.NewChaCha8([32]byte([]byte(name + strings.Repeat(" ", 32))[:32]))
		content := make([]byte, 100_000+len(name)*9000)
		if strings.HasPrefix(name, "large") {
			content = make([]byte, 5_000_000)
		}
		random.Read(content)
		do(t, os.WriteFile(filepath.Join(dir, name), content, 0o644))
	}
	var b bytes.Buffer
	do(t, archive.Write(&b, dir, archive.Options{}), os.WriteFile(target, b.Bytes(), 0o644))
	return b.Bytes()
}

func TestCutSharesAndLosesNothing(t *testing.T) {
	var raw [2][]byte
	var chunks [2][]string
	for n, names := range [][]string{
		{"a", "b", "c", "d", "e", "f", "g", "h", "i", "large", "x", "y", "z"},
		{"a", "b", "c", "d", "e", "ff", "g", "h", "i", "large", "x", "y", "z"},
	} {
		raw[n] = writeTree(t, filepath.Join(t.TempDir(), "tar"), names...)
		dir := t.TempDir()
		digests, _, err := cut(bytes.NewReader(raw[n]), dir, nil)
		do(t, err)
		var joined []byte
		for _, d := range digests {
			piece, err := os.ReadFile(filepath.Join(dir, d.Encoded()))
			do(t, err)
			joined = append(joined, piece...)
			chunks[n] = append(chunks[n], d.Encoded())
		}
		if !bytes.Equal(joined, raw[n]) {
			t.Error("the chunks are not the tar")
		}
	}
	shared := 0
	for _, d := range chunks[1] {
		if strings.Contains(strings.Join(chunks[0], " "), d) {
			shared++
		}
	}
	if shared < len(chunks[1])-3 {
		t.Errorf("%d of %d chunks are shared", shared, len(chunks[1]))
	}
}

func FuzzBorders(f *testing.F) {
	var b bytes.Buffer
	_ = writeMetaTar(&b, metaFiles(imageParams{}), 0)
	f.Add(b.Bytes())
	f.Fuzz(func(t *testing.T, raw []byte) {
		ends, err := borders(bytes.NewReader(raw))
		if err != nil {
			return
		}
		last := int64(0)
		for _, e := range ends {
			if e < last || e > int64(len(raw)) {
				t.Fatalf("borders %v of %d bytes", ends, len(raw))
			}
			last = e
		}
		if last != int64(len(raw)) {
			t.Fatalf("borders %v of %d bytes", ends, len(raw))
		}
	})
}

// build runs the builder of an image with the machine's own root as the chroot of xz.
func build(t *testing.T, inputs map[string]string) string {
	t.Helper()
	sandboxtest.Need(t)
	if _, err := exec.LookPath("xz"); err != nil {
		t.Skip("the program xz is missing (Debian package xz-utils)")
	}
	dir, err := os.MkdirTemp("/var/tmp", "image") // where the lower file system of the overlay is
	do(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	drv := &derive.Derivation{Kind: imageKind, Inputs: make(map[string]store.ArtifactID)}
	drv.Params, err = json.Marshal(imageParams{Time: 1767225600, Dist: "debian", Codename: "trixie", Arch: "amd64", Machine: "x86_64", Variant: "default-r1"})
	do(t, err)
	for _, d := range []string{"inputs", "output", "scratch"} {
		do(t, os.Mkdir(filepath.Join(dir, d), 0o755))
	}
	inputs["xz"] = "/"
	for name, target := range inputs {
		drv.Inputs[name] = store.HashArtifact([]byte(name))
		do(t, os.Symlink(target, filepath.Join(dir, "inputs", name)))
	}
	var log bytes.Buffer
	b := derive.NewBuild(drv, filepath.Join(dir, "inputs"), filepath.Join(dir, "output"), filepath.Join(dir, "scratch"), &log)
	if err := buildImage(context.Background(), b); err != nil {
		t.Fatalf("%v\n%s", err, log.Bytes())
	}
	return filepath.Join(dir, "output")
}

// files returns the content of a folder's files by their paths.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := make(map[string]string)
	do(t, filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(name)
		all[strings.TrimPrefix(name, dir+"/")] = string(b)
		return err
	}))
	return all
}

func TestImageIsTheSameWithAndWithoutLike(t *testing.T) {
	base, role := t.TempDir(), t.TempDir()
	writeTree(t, filepath.Join(base, derive.RootFS), "a", "b", "c", "d", "e", "large", "x")
	raw := writeTree(t, filepath.Join(role, derive.RootFS), "a", "b", "bb", "c", "d", "e", "large", "x", "y")
	like := build(t, map[string]string{"container": base})
	without := files(t, build(t, map[string]string{"container": role}))
	with := files(t, build(t, map[string]string{"container": role, "like": like}))
	var names []string
	for name, content := range without {
		names = append(names, name)
		if with[name] != content {
			t.Errorf("%s differs", name)
		}
		if strings.HasSuffix(name, "/rootfs.tar.xz") {
			cmd := exec.Command("xz", "-dc")
			cmd.Stdin = strings.NewReader(content)
			if got, err := cmd.Output(); err != nil || !bytes.Equal(got, raw) {
				t.Errorf("%s is not the container's root file system: %v", name, err)
			}
			if !strings.HasPrefix(name, "lxc-images/debian/trixie/amd64/default-r1/20260101_00:00_") {
				t.Errorf("got path %s", name)
			}
		}
	}
	if len(with) != 4 || len(without) != 4 {
		t.Errorf("got files %q", names)
	}
}

func TestMetaGolden(t *testing.T) {
	got := metaFiles(imageParams{Time: 1, Dist: "debian", Codename: "trixie", Arch: "amd64", Machine: "x86_64", Variant: "default-r1"})
	want := []metaFile{
		{"config", "lxc.include = LXC_TEMPLATE_CONFIG/common.conf\nlxc.arch = x86_64\n"},
		{"config-user", "lxc.include = LXC_TEMPLATE_CONFIG/common.conf\nlxc.include = LXC_TEMPLATE_CONFIG/userns.conf\nlxc.arch = x86_64\n"},
		{"create-message", "You just created a debian trixie amd64 container of default-r1.\n"},
		{"excludes-user", "dev/*\n"},
		{"expiry", "1\n"},
		{"templates", "etc/hostname\netc/hosts\n"},
	}
	if len(got) != len(want) {
		t.Fatalf("got %q", got)
	}
	for n := range want {
		if got[n] != want[n] {
			t.Errorf("got %q, want %q", got[n], want[n])
		}
	}
}
