package recipes

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rcbops/rpcbuild/recipes/apt"
	"github.com/rcbops/rpcbuild/recipes/git"
	"github.com/rcbops/rpcbuild/recipes/spec"
)

const someHash = "ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73"

func sampleLock() *Lock {
	return &Lock{
		Schema: lockSchema, Release: "r1", Time: time.Date(2026, 4, 1, 12, 0, 0, 0, time.UTC), SigningKey: "-----BEGIN\n<&>\n",
		Apt: &apt.Lock{Mirrors: map[string]*apt.MirrorLock{"debian": {
			Suite: "trixie", Components: []string{"main"}, Architectures: []string{"amd64"},
			InRelease: someHash, Date: "Wed, 01 Apr 2026 12:00:00 UTC", SignedBy: []string{"ABCD"}, Keyring: "key",
			Packages: []apt.Package{
				{Name: "a", Version: "1", Arch: "amd64", Filename: `pool/a "quoted" {1}.deb`, Size: 7, SHA256: someHash},
				{Name: "b", Version: "2", Arch: "all", Filename: "pool/b.deb", Size: 8, SHA256: someHash},
			},
		}}},
		Git: &git.Lock{Repositories: map[string]git.Pin{"requirements": {
			Version: "master", Commit: someHash[:40], Refs: map[string]string{"refs/heads/master": someHash[:40]},
		}}},
	}
}

func TestLockGolden(t *testing.T) {
	got, err := sampleLock().Encode()
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile("testdata/sample.lock")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Error(diff)
	}
	l, err := DecodeLock(got)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(sampleLock(), l); diff != "" {
		t.Error(diff)
	}
}

func TestLockLine(t *testing.T) {
	b, err := sampleLock().Encode()
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(string(b)) {
		if strings.Contains(line, `"filename"`) {
			n++
			if !strings.Contains(line, `"name"`) || !strings.Contains(line, `"sha256"`) {
				t.Errorf("a package is not one line: %s", line)
			}
		}
	}
	if n != 2 {
		t.Errorf("%d packages", n)
	}
}

func TestReadLock(t *testing.T) {
	b, err := sampleLock().Encode()
	if err != nil {
		t.Fatal(err)
	}
	good := string(b)
	file := filepath.Join(t.TempDir(), "r1.lock")
	if l, err := readLock(file); l != nil || err != nil {
		t.Errorf("no lock: %v, %v", l, err)
	}
	for name, c := range map[string]struct{ text, want string }{
		"nothing":        {"", "EOF"},
		"cut off":        {good[:len(good)/2], "unexpected EOF"},
		"merge conflict": {strings.Replace(good, ` "release"`, "<<<<<<< HEAD\n \"release\"", 1), file + ":3:1: decode lock: invalid character '<'"},
		"unknown key":    {strings.Replace(good, `"release"`, `"releases"`, 1), `unknown field "releases"`},
		"newer":          {strings.Replace(good, `"schema": 1`, `"schema": 2`, 1), "schema 2, this rpcbuild knows 1"},
		"no apt":         {`{"schema":1,"release":"r1"}`, "no apt section"},
		"more":           {good + "{}", "something follows its end"},
	} {
		if err := os.WriteFile(file, []byte(c.text), 0o644); err != nil {
			t.Fatal(err)
		}
		_, err := readLock(file)
		var wrong *spec.FileError
		if !errors.As(err, &wrong) || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "rpcbuild lock") {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func TestWriteLock(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "r1.lock")
	for range 2 {
		if err := sampleLock().write(file); err != nil {
			t.Fatal(err)
		}
	}
	l, err := readLock(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(sampleLock(), l); diff != "" {
		t.Error(diff)
	}
	if fi, err := os.Stat(file); err != nil || fi.Mode() != 0o644 {
		t.Errorf("got %v, %v", fi.Mode(), err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 1 {
		t.Errorf("left: %v", left)
	}
	if err := sampleLock().write(filepath.Join(dir, "none", "r1.lock")); err == nil {
		t.Error("no error without a folder")
	}
}

func TestCompare(t *testing.T) {
	next := sampleLock()
	m := next.Apt.Mirrors["debian"]
	m.Packages = []apt.Package{
		{Name: "a", Version: "1", Arch: "amd64"}, {Name: "a", Version: "1.1", Arch: "amd64"}, {Name: "c", Version: "3", Arch: "all"},
	}
	next.Git.Repositories["requirements"] = git.Pin{Commit: "beef"}
	var got []string
	for _, c := range compare(sampleLock(), next) {
		got = append(got, c.String())
	}
	want := []string{
		"apt debian a:amd64: 1 -> 1, 1.1", "apt debian b:all: gone, was 2", "apt debian c:all: new, 3",
		"git requirements: " + someHash[:40] + " -> beef",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if changes := compare(next, next); len(changes) != 0 {
		t.Errorf("nothing moved: %v", changes)
	}
	if changes := compare(&Lock{}, sampleLock()); len(changes) != 3 {
		t.Errorf("all new: %v", changes)
	}
}

func TestMoved(t *testing.T) {
	names := map[string]int{"b": 1, "a": 2}
	for _, c := range []struct{ update, want []string }{
		{nil, nil}, {[]string{everything}, []string{"a", "b"}}, {[]string{"apt"}, []string{"a", "b"}},
		{[]string{"a"}, []string{"a"}}, {[]string{"git"}, nil}, {[]string{"git", "b"}, []string{"b"}},
	} {
		if diff := cmp.Diff(c.want, moved(c.update, "apt", names)); diff != "" {
			t.Errorf("%v: %s", c.update, diff)
		}
	}
}

func TestCheckNames(t *testing.T) {
	d := &Definition{Git: &git.Definition{Repositories: map[string]git.Repository{"requirements": {}}}}
	if err := checkNames(d, &Lock{}, []string{everything, "apt", "git", "python", "requirements"}); err != nil {
		t.Error(err)
	}
	err := checkNames(d, &Lock{}, []string{"requirement"})
	if want := `--update: unknown name "requirement" (did you mean "requirements"?)`; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestNewest(t *testing.T) {
	l := sampleLock().Apt
	l.Mirrors["updates"] = &apt.MirrorLock{Date: "Thu, 02 Apr 2026 00:00:00 UTC"}
	if got, err := newest(l); err != nil || !got.Equal(time.Date(2026, 4, 2, 0, 0, 0, 0, time.UTC)) {
		t.Errorf("got %v, %v", got, err)
	}
	l.Mirrors["updates"].Date = "yesterday"
	if _, err := newest(l); err == nil || !strings.Contains(err.Error(), "updates") {
		t.Errorf("got %v", err)
	}
}

func FuzzDecodeLock(f *testing.F) {
	b, err := sampleLock().Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := DecodeLock(b)
		if err != nil {
			return
		}
		once, err := l.Encode()
		if err != nil {
			t.Fatal(err)
		}
		again, err := DecodeLock(once)
		if err != nil {
			t.Fatalf("%q is read, written as %q, and then refused: %v", b, once, err)
		}
		if twice, err := again.Encode(); err != nil || string(once) != string(twice) {
			t.Errorf("%q and %q, %v", once, twice, err)
		}
	})
}
