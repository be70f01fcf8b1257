package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func verified(t testing.TB, s *Store) VerifyReport {
	t.Helper()
	r, err := s.Verify(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func clean(t testing.TB, s *Store) VerifyReport {
	t.Helper()
	r := verified(t, s)
	for _, d := range r.Damaged {
		t.Errorf("%s %s: %s", d.What, d.Path, d.Reason)
	}
	return r
}

// fill makes a small store with something of everything.
func fillStore(t testing.TB, dir string) (s *Store, builds []built) {
	s = opened(t, dir)
	for i := range 3 {
		builds = append(builds, build(t, s, fmt.Sprint("b", i)))
	}
	root(t, s, "release", "lock", builds...)
	if err := s.AddPin("pin", Root{Items: []RootItem{builds[0].item("x")}}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Tree(builds[0].artifact, func(*Manifest, string) error { return nil }); err != nil {
		t.Fatal(err)
	}
	return s, builds
}

func TestVerifyClean(t *testing.T) {
	s, _ := fillStore(t, t.TempDir())
	defer s.Close()
	r := clean(t, s)
	r.Bytes = 0
	if want := (VerifyReport{Blobs: 4, Artifacts: 3, Derivations: 3, Statements: 3, Roots: 2, Trees: 1}); !reflect.DeepEqual(r, want) {
		t.Errorf("got %+v, want %+v", r, want)
	}
}

// flipBit changes one bit of a file.
func flipBit(t testing.TB, name string, bit int64) {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	b[bit/8] ^= 1 << (bit % 8)
	if err := os.WriteFile(name, b, 0o644); err != nil { // root may write what is read-only
		t.Fatal(err)
	}
}

// objects lists the files that a flipped bit is to be found in.
func objects(t testing.TB, dir string) []string {
	var all []string
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, _ := filepath.Rel(dir, name)
		switch first, _, _ := strings.Cut(rel, "/"); first {
		case blobDir, artifactDir, derivationDir, realisationDir, rootDir:
			all = append(all, rel)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestFlippedBit flips a bit in every object, one at a time: it is found, taken out, and brought back.
func TestFlippedBit(t *testing.T) {
	made := t.TempDir()
	s, _ := fillStore(t, made)
	s.Close()
	names := objects(t, made)
	if len(names) != 4+3+3+3+2 {
		t.Fatalf("objects: %v", names)
	}
	for _, name := range names {
		dir := t.TempDir()
		if err := os.CopyFS(dir, os.DirFS(made)); err != nil {
			t.Fatal(err)
		}
		damaged := filepath.Join(dir, name)
		fi, err := os.Stat(damaged)
		if err != nil {
			t.Fatal(err)
		}
		flipBit(t, damaged, rand.Int64N(8*fi.Size()))
		s := opened(t, dir)
		r := verified(t, s)
		if len(r.Damaged) != 1 || r.Damaged[0].Path != damaged || r.Damaged[0].Reason == "" {
			t.Errorf("%s: found %+v", name, r.Damaged)
		}
		if what := r.Damaged[0].What; (what == damagedBlob || what == damagedManifest) == (len(r.Damaged[0].Artifacts) == 0) {
			t.Errorf("%s: it breaks %v", name, r.Damaged[0].Artifacts)
		}
		lost, err := s.TakeOut(context.Background(), r.Damaged)
		if err != nil {
			t.Fatal(err)
		}
		clean(t, s)
		for i := range 3 {
			build(t, s, fmt.Sprint("b", i))
		}
		if still, err := s.Lacks(lost); err != nil || len(still.Artifacts)+len(still.Derivations) > 0 {
			t.Errorf("%s: lacks %v, %v", name, still, err)
		}
		if r := clean(t, s); r.Artifacts != 3 || r.Statements != 3 || r.Derivations != 3 {
			t.Errorf("%s: got %+v", name, r)
		}
		s.Close()
	}
}

// TestFlippedBitInTheIndex flips many bits of an index of several pages. Each is found, or is in a
// place that means nothing; none is a crash; and a new index has all rows again.
func TestFlippedBitInTheIndex(t *testing.T) {
	dir := t.TempDir()
	s, builds := fillStore(t, dir)
	for i := range 300 {
		if err := s.AddRealisation(realisation(fmt.Sprint("drv", i), "artifact"), nil); err != nil {
			t.Fatal(err)
		}
	}
	want, err := s.snapshotIndex()
	if err != nil {
		t.Fatal(err)
	}
	name := s.path(indexName)
	whole, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	found, lookups := 0, 0
	const flips = 40
	for range flips {
		bad := append([]byte(nil), whole...)
		bit := rand.IntN(8 * len(bad))
		bad[bit/8] ^= 1 << (bit % 8)
		if err := os.WriteFile(name, bad, 0o644); err != nil {
			t.Fatal(err)
		}
		s, err := Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		r := verified(t, s)
		rows, err := s.snapshotIndex()
		switch {
		case len(r.Damaged) > 0:
			found++
		case err != nil || !reflect.DeepEqual(rows, want):
			t.Errorf("bit %d changes rows, and verify did not find it: %v", bit, err)
		}
		var damaged *IndexError
		_, err = s.Lookup([]DrvID{builds[0].drv, HashDrv([]byte("drv7"))})
		if err == nil {
			_, err = s.PutManifest(SingleFile("f", builds[0].blobs[0]))
		}
		if errors.As(err, &damaged) {
			lookups++
			if !strings.Contains(err.Error(), "store reindex") {
				t.Errorf("bit %d: %v", bit, err)
			}
		} else if err != nil {
			t.Errorf("bit %d: %v", bit, err)
		}
		s.Close()
	}
	if found == 0 {
		t.Error("verify found nothing")
	}
	t.Logf("of %d flips %d were found by verify, %d by others", flips, found, lookups)
	s = opened(t, dir)
	defer s.Close()
	if _, err := s.Reindex(context.Background()); err != nil {
		t.Fatal(err)
	}
	clean(t, s)
	rows, err := s.snapshotIndex()
	if err != nil || len(rows.realisations) != len(want.realisations) {
		t.Errorf("%d realisations, want %d, %v", len(rows.realisations), len(want.realisations), err)
	}
}

func TestDamagedIndex(t *testing.T) {
	for name, damage := range map[string]func(whole []byte) []byte{
		"empty": func([]byte) []byte { return nil },
		"text":  func([]byte) []byte { return []byte("no database") },
		"zeros": func(whole []byte) []byte { return make([]byte, len(whole)) },
		"short": func(whole []byte) []byte { return whole[:len(whole)/2] },
		"far pages": func(whole []byte) []byte { // a bucket's root is where no page is, which is a fault
			for at := 0; ; at += len("artifact") {
				next := bytes.Index(whole[at:], []byte("artifact"))
				if next < 0 {
					return whole
				}
				at += next
				whole[at+len("artifact")+4] = 1
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s, builds := fillStore(t, dir)
			reader := opened(t, dir)
			defer reader.Close()
			holds(t, reader, builds[0], true) // it has the index open
			whole, err := os.ReadFile(s.path(indexName))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(s.path(indexName), damage(whole), 0o644); err != nil {
				t.Fatal(err)
			}
			var damaged *IndexError
			for _, s := range []*Store{s, reader} {
				if _, err := s.Has(builds[0].artifact); !errors.As(err, &damaged) {
					t.Errorf("Has: %v", err)
				}
			}
			if _, err := s.PutManifest(SingleFile("f", builds[0].blobs[0])); !errors.As(err, &damaged) {
				t.Errorf("PutManifest: %v", err)
			}
			if r := verified(t, s); len(r.Damaged) != 1 || r.Damaged[0].What != damagedIndex {
				t.Errorf("found %+v", r.Damaged)
			}
			if _, err := s.Reindex(context.Background()); err != nil {
				t.Fatal(err)
			}
			clean(t, s)
			s = later(t, s)
			for _, b := range builds {
				holds(t, s, b, true)
				holds(t, reader, b, true)
			}
		})
	}
}

// TestReindexWhileOthersBuild loses no row that is written meanwhile.
func TestReindexWhileOthersBuild(t *testing.T) {
	s := open(t)
	done := make(chan error)
	go func() {
		for range 5 {
			if _, err := s.Reindex(context.Background()); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	other := opened(t, s.Dir())
	defer other.Close()
	var builds []built
	for i := 0; ; i++ {
		builds = append(builds, build(t, other, fmt.Sprint("b", i)))
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
			for _, b := range builds {
				holds(t, s, b, true)
			}
			clean(t, s)
			return
		default:
		}
	}
}

func TestReindexPutsTheOldestFirst(t *testing.T) {
	s := open(t)
	first, second := realisation("drv", "first"), realisation("drv", "second")
	first.Time = first.Time.AddDate(-1, 0, 0)
	for _, r := range []Realisation{second, first} {
		s.AddRealisation(r, nil) // the second one contradicts the first
	}
	if _, err := s.Reindex(context.Background()); err != nil {
		t.Fatal(err)
	}
	found, err := s.Lookup([]DrvID{first.Drv})
	if err != nil || !reflect.DeepEqual(found[first.Drv], []ArtifactID{first.Artifact, second.Artifact}) {
		t.Errorf("got %v, %v", found, err)
	}
}
