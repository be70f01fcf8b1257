package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

// built is what a build leaves: a derivation, its log, a tree of files, and the statement.
type built struct {
	drv      DrvID
	artifact ArtifactID
	blobs    []Blob
}

func (b built) item(name string) RootItem { return RootItem{name, b.drv, b.artifact} }

// build adds an artifact with a file of its own and one that all share.
func build(t testing.TB, s *Store, name string) built {
	t.Helper()
	b, err := tryBuild(s, name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func tryBuild(s *Store, name string) (b built, err error) {
	if b.drv, err = s.PutDerivation(fmt.Appendf(nil, `{"kind":"test","inputs":{},"name":%q}`, name)); err != nil {
		return b, err
	}
	log, err := s.CreateLog(b.drv)
	if err != nil {
		return b, err
	}
	defer log.Close()
	dir, err := s.TempDir("build")
	if err != nil {
		return b, err
	}
	m := &Manifest{}
	for file, content := range map[string]string{"own": name, "shared": "shared"} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(content), 0o644); err != nil {
			return b, err
		}
		b.blobs = append(b.blobs, HashBlob([]byte(content)))
	}
	if b.artifact, err = s.AddTree(context.Background(), dir, m); err != nil {
		return b, err
	}
	return b, s.AddRealisation(Realisation{Drv: b.drv, Artifact: b.artifact, Builder: "test", Time: time.Unix(1, 0).UTC()}, nil)
}

// root makes builds the newest root of a release.
func root(t testing.TB, s *Store, release, lock string, builds ...built) {
	t.Helper()
	r := Root{Release: release, Lock: digest.FromString(lock), Time: time.Now()}
	for i, b := range builds {
		r.Items = append(r.Items, b.item(fmt.Sprint("item", i)))
	}
	if err := s.AddRoot(context.Background(), r); err != nil {
		t.Fatal(err)
	}
}

// later closes the store and opens it again, so that what was touched is of an older session.
func later(t testing.TB, s *Store) *Store {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(10 * time.Millisecond) // files have times of 4 ms
	again, err := Open(s.Dir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { again.Close() })
	return again
}

func opened(t testing.TB, dir string) *Store {
	t.Helper()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func gc(t testing.TB, s *Store, o GCOptions) GCReport {
	t.Helper()
	r, err := s.GC(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// holds checks that everything of b is there, or nothing of it but what others share.
func holds(t testing.TB, s *Store, b built, want bool) {
	t.Helper()
	has, err := s.Has(b.artifact)
	if err != nil || has != want {
		t.Errorf("Has = %v, %v, want %v", has, err, want)
	}
	found, err := s.Lookup([]DrvID{b.drv})
	if err != nil || (len(found) == 1) != want {
		t.Errorf("Lookup = %v, %v, want %v", found, err, want)
	}
	for _, name := range []string{
		s.fanout(artifactDir, b.artifact.String()), s.fanout(derivationDir, b.drv.String()),
		s.statementPath(b.drv, b.artifact), s.LogPath(b.drv),
	} {
		if _, err := os.Stat(name); (err == nil) != want {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
	}
	for _, blob := range b.blobs {
		if blob != HashBlob([]byte("shared")) && s.HasBlob(blob) != want {
			t.Errorf("HasBlob = %v, want %v", !want, want)
		}
	}
}

func TestGCKeepsRoots(t *testing.T) {
	s := opened(t, t.TempDir())
	var all []built
	for i := range 5 {
		all = append(all, build(t, s, fmt.Sprint("b", i)))
		root(t, s, "release", fmt.Sprint("lock", i), all[i])
	}
	pinned := build(t, s, "pinned")
	if err := s.AddPin("mine", Root{Items: []RootItem{{Name: "x", Artifact: pinned.artifact, Drv: pinned.drv}}}); err != nil {
		t.Fatal(err)
	}
	loose := build(t, s, "loose")

	// While the session that made them lives, nothing goes.
	if r := gc(t, s, GCOptions{Keep: 3}); len(r.Removed) != 0 {
		t.Errorf("removed %v of a living session", r.Removed)
	}
	s = later(t, s)
	dry := gc(t, s, GCOptions{Keep: 2, DryRun: true})
	if got := fmt.Sprint(dry.Removed); got == "[]" {
		t.Error("a dry run found nothing")
	}
	s = later(t, s)
	r := gc(t, s, GCOptions{Keep: 2})
	if fmt.Sprint(r.Removed) != fmt.Sprint(dry.Removed) {
		t.Errorf("removed %v, and the dry run said %v", r.Removed, dry.Removed)
	}
	for i, b := range all {
		holds(t, s, b, i >= 3)
	}
	holds(t, s, pinned, true)
	holds(t, s, loose, false)
	if !s.HasBlob(HashBlob([]byte("shared"))) {
		t.Error("what living artifacts share is gone")
	}
	s = later(t, s)
	if r := gc(t, s, GCOptions{Keep: 2}); len(r.Removed) != 0 {
		t.Errorf("a second gc removed %v", r.Removed)
	}
	if err := s.RemovePin("mine"); err != nil {
		t.Fatal(err)
	}
	if err := s.RemovePin("mine"); !errors.Is(err, ErrNotFound) {
		t.Errorf("again: %v", err)
	}
	s = later(t, s)
	gc(t, s, GCOptions{Keep: 2})
	holds(t, s, pinned, false)
	build(t, s, "loose")
	holds(t, s, loose, true)
}

// TestGCSparesWhatIsTouched has a session that only asks, in each of the ways in which one can.
func TestGCSparesWhatIsTouched(t *testing.T) {
	ask := map[string]func(s *Store, b built) error{
		"Has": func(s *Store, b built) error { _, err := s.Has(b.artifact); return err },
		"PutManifest": func(s *Store, b built) error {
			m, err := s.Manifest(b.artifact)
			if err == nil {
				_, err = s.PutManifest(m)
			}
			return err
		},
		"AddTree": func(s *Store, b built) error { _, err := tryBuild(s, "b"); return err },
	}
	for name, fn := range ask {
		t.Run(name, func(t *testing.T) {
			s := opened(t, t.TempDir())
			b, other := build(t, s, "b"), build(t, s, "other")
			s = later(t, s)
			if err := fn(s, b); err != nil {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Millisecond)
			collector := opened(t, s.Dir())
			defer collector.Close()
			gc(t, collector, GCOptions{})
			if has, err := s.Has(b.artifact); err != nil || !has {
				t.Errorf("Has = %v, %v", has, err)
			}
			if err := s.Materialize(b.artifact, filepath.Join(s.session.Name(), "m")); err != nil {
				t.Error(err)
			}
			if has, err := s.Has(other.artifact); err != nil || has {
				t.Errorf("nobody asked for the other: Has = %v, %v", has, err)
			}
		})
	}
}

func TestGCGrace(t *testing.T) {
	s := opened(t, t.TempDir())
	b := build(t, s, "b")
	s = later(t, s)
	gc(t, s, GCOptions{Grace: time.Hour})
	holds(t, s, b, true)
}

func TestGCOfTheRest(t *testing.T) {
	s := opened(t, t.TempDir())
	b := build(t, s, "b")
	root(t, s, "r", "lock", b)
	unpack := func(_ *Manifest, dir string) error { return os.WriteFile(filepath.Join(dir, "f"), []byte("x"), 0o644) }
	loose := build(t, s, "loose")
	var trees []string
	for _, a := range []ArtifactID{b.artifact, loose.artifact} {
		name, err := s.Tree(a, unpack)
		if err != nil {
			t.Fatal(err)
		}
		trees = append(trees, name)
	}
	old, young, locked := s.PartialPath(HashBlob([]byte("1"))), s.PartialPath(HashBlob([]byte("2"))), s.PartialPath(HashBlob([]byte("3")))
	for _, name := range []string{old, young, locked, s.path(lockDir, "left")} {
		if err := os.WriteFile(name, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		if name != young {
			ago := time.Now().Add(-8 * 24 * time.Hour)
			os.Chtimes(name, ago, ago)
		}
	}
	unlock, err := s.LockBlob(context.Background(), HashBlob([]byte("3")), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	s = later(t, s)
	gc(t, s, GCOptions{})
	for name, want := range map[string]bool{trees[0]: true, trees[1]: false, old: false, young: true, locked: true, s.path(lockDir, "left"): false} {
		if _, err := os.Stat(name); (err == nil) != want {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
	}
	// To fit into less, it gives up trees, and says when that will not do.
	s = later(t, s)
	r := gc(t, s, GCOptions{MaxSize: 1})
	if _, err := os.Stat(trees[0]); err == nil {
		t.Error("the tree is still there")
	}
	if r.Over <= 0 || r.Size != r.Over+1 {
		t.Errorf("got %+v", r)
	}
	holds(t, s, b, true)
}

func TestGCMaxSizeDropsTheOldest(t *testing.T) {
	s := opened(t, t.TempDir())
	var all []built
	for i := range 3 {
		all = append(all, build(t, s, strings.Repeat(fmt.Sprint(i), 1<<20)))
		root(t, s, "r", fmt.Sprint(i), all[i])
	}
	s = later(t, s)
	size, err := roomBelow(s.dir)
	if err != nil {
		t.Fatal(err)
	}
	s = later(t, s)
	r := gc(t, s, GCOptions{Keep: 3, MaxSize: size - 1<<19})
	if len(r.Dropped) != 1 || r.Over != 0 {
		t.Errorf("dropped %v, over %d", r.Dropped, r.Over)
	}
	for i, b := range all {
		holds(t, s, b, i > 0)
	}
}

// TestRootIsRenewed adds the same release again, in whole and in part.
func TestRootIsRenewed(t *testing.T) {
	s := open(t)
	a, b, c := build(t, s, "a"), build(t, s, "b"), build(t, s, "c")
	for _, r := range [][]built{{a, b}, {c}, {c, b}} {
		root(t, s, "r", "lock", r...)
	}
	roots, err := s.Roots()
	if err != nil || len(roots) != 1 || len(roots[0].Items) != 2 || roots[0].Items[0].Artifact != c.artifact || roots[0].Items[1].Artifact != b.artifact {
		t.Errorf("got %v, %v", roots, err)
	}
	root(t, s, "r", "another", a)
	root(t, s, "r", "lock", a)
	if roots, err = s.Roots(); err != nil || len(roots) != 3 {
		t.Errorf("got %v, %v", roots, err)
	}
	for _, name := range []string{"", "a/b", "..", ".x"} {
		if err := s.AddPin(name, Root{}); err == nil {
			t.Errorf("pinned %q", name)
		}
	}
}

// TestGCWhileOthersBuild has builders that share a small set of artifacts, and two that collect
// garbage all the time. Whatever a builder has put or found stays until it closes its store.
func TestGCWhileOthersBuild(t *testing.T) {
	dir := t.TempDir()
	opened(t, dir).Close()
	stop := make(chan struct{})
	var builders, collectors sync.WaitGroup
	for range 2 {
		collectors.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				s := opened(t, dir)
				if _, err := s.GC(context.Background(), GCOptions{}); err != nil {
					t.Error(err)
				}
				s.Close()
			}
		})
	}
	for n := range 8 {
		builders.Go(func() {
			for round := range 4 {
				if err := buildAndCheck(dir, n, round); err != nil {
					t.Errorf("builder %d, round %d: %v", n, round, err)
				}
			}
		})
	}
	builders.Wait()
	close(stop)
	collectors.Wait()
}

func buildAndCheck(dir string, n, round int) error {
	s, err := Open(dir)
	if err != nil {
		return err
	}
	defer s.Close()
	var mine []built
	for i := range 4 {
		b, err := tryBuild(s, fmt.Sprint("b", (n+round+i)%6))
		if err != nil {
			return err
		}
		mine = append(mine, b)
	}
	for i, b := range mine {
		known, err := s.Lookup([]DrvID{b.drv})
		if err != nil || len(known[b.drv]) != 1 {
			return fmt.Errorf("lookup: %v, %w", known, err)
		}
		if has, err := s.Has(b.artifact); err != nil || !has {
			return fmt.Errorf("has: %v, %w", has, err)
		}
		if err := s.Materialize(b.artifact, filepath.Join(s.session.Name(), fmt.Sprint(i))); err != nil {
			return err
		}
	}
	return nil
}
