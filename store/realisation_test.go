package store

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"
)

func realisation(drv, artifact string) Realisation {
	return Realisation{
		Drv: HashDrv([]byte(drv)), Artifact: HashArtifact([]byte(artifact)), Builder: "here", Tool: "1.0",
		Time: time.Date(2026, 4, 1, 12, 0, 0, 0, time.UTC), Seconds: 1.5, Size: 42,
	}
}

func TestRealisationGolden(t *testing.T) {
	b, err := CanonicalJSON(realisation("drv", "artifact"))
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"drv":"cbd2e08be9361a3bed4b6364310397768927520492fb7928d2b85f2b9ef7d620",` +
		`"artifact":"c7c5c1d70c5dec4416ab6158afd0b223ef40c29b1dc1f97ed9428b94d4cadb1c","builder":"here","tool":"1.0",` +
		`"time":"2026-04-01T12:00:00Z","seconds":1.5,"size":42}`
	if string(b) != want {
		t.Errorf("got  %s\nwant %s", b, want)
	}
}

func TestRealisations(t *testing.T) {
	s := open(t)
	r := realisation("drv", "artifact")
	if _, err := s.Realisation(r.Drv, r.Artifact); !errors.Is(err, ErrNotFound) {
		t.Errorf("before: %v", err)
	}
	if err := s.AddRealisation(r, nil); err != nil {
		t.Fatal(err)
	}
	second := r
	second.Builder = "there"
	if err := s.AddRealisation(second, nil); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Realisation(r.Drv, r.Artifact); err != nil || got != r {
		t.Errorf("got %v, %v, want the first, %v", got, err, r)
	}
	found, err := s.Lookup([]DrvID{r.Drv, HashDrv([]byte("other"))})
	if err != nil || len(found) != 1 || len(found[r.Drv]) != 1 || found[r.Drv][0] != r.Artifact {
		t.Errorf("Lookup = %v, %v", found, err)
	}
}

func TestConflictKeepsBoth(t *testing.T) {
	s := open(t)
	first, second := realisation("drv", "one"), realisation("drv", "two")
	second.Builder = "there"
	if err := s.AddRealisation(first, nil); err != nil {
		t.Fatal(err)
	}
	for range 2 { // adding it again is a conflict again
		err := s.AddRealisation(second, nil)
		var conflict *ConflictError
		if !errors.As(err, &conflict) || conflict.First != first || conflict.Second != second {
			t.Fatalf("got %v", err)
		}
		for _, want := range []string{first.Artifact.String(), second.Artifact.String(), "here", "there"} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%q does not say %s", err, want)
			}
		}
	}
	found, err := s.Lookup([]DrvID{first.Drv})
	if ids := found[first.Drv]; err != nil || len(ids) != 2 || ids[0] != first.Artifact || ids[1] != second.Artifact {
		t.Errorf("Lookup = %v, %v", found, err)
	}
	if got, err := s.Realisation(first.Drv, second.Artifact); err != nil || got != second {
		t.Errorf("second: %v, %v", got, err)
	}
}

func TestConflictWithAStatementThatIsLost(t *testing.T) {
	s := open(t)
	first, second := realisation("drv", "one"), realisation("drv", "two")
	if err := s.AddRealisation(first, nil); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(s.path(realisationDir, first.Drv.String(), first.Artifact.String())); err != nil {
		t.Fatal(err)
	}
	var conflict *ConflictError
	if err := s.AddRealisation(second, nil); !errors.As(err, &conflict) || conflict.First.Artifact != first.Artifact {
		t.Errorf("got %v", err)
	}
}

func TestDamagedStatementIsNoticed(t *testing.T) {
	s := open(t)
	r := realisation("drv", "artifact")
	if err := s.AddRealisation(r, nil); err != nil {
		t.Fatal(err)
	}
	name := s.path(realisationDir, r.Drv.String(), r.Artifact.String())
	flip(t, name, len(`{"drv":"0`))
	if _, err := s.Realisation(r.Drv, r.Artifact); err == nil || !strings.Contains(err.Error(), name) {
		t.Errorf("got %v", err)
	}
}

func TestDerivations(t *testing.T) {
	s := open(t)
	drv, err := s.PutDerivation([]byte(`{"kind":"x"}`))
	if err != nil {
		t.Fatal(err)
	}
	if b, err := s.Derivation(drv); err != nil || string(b) != `{"kind":"x"}` {
		t.Errorf("got %s, %v", b, err)
	}
	if _, err := s.Derivation(HashDrv(nil)); !errors.Is(err, ErrNotFound) {
		t.Errorf("unknown: %v", err)
	}
	flip(t, s.fanout(derivationDir, drv.String()), 3)
	if _, err := s.Derivation(drv); err == nil || errors.Is(err, ErrNotFound) {
		t.Errorf("damaged: %v", err)
	}
	if _, err := s.PutDerivation([]byte(`{"kind":"x"}`)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Derivation(drv); err != nil {
		t.Errorf("put again, and not mended: %v", err)
	}
}

// flip changes one bit of a file.
func flip(t *testing.T, name string, at int) {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	b[at] ^= 1
	if err := os.Chmod(name, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, b, 0o644); err != nil {
		t.Fatal(err)
	}
}
