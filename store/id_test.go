package store

import (
	"encoding/json"
	"strings"
	"testing"
)

const someID = "ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73" // of "content"

func TestIDs(t *testing.T) {
	if got := HashDrv([]byte("content")).String(); got != someID {
		t.Errorf("HashDrv = %s", got)
	}
	if b := HashBlob([]byte("content")); b.Digest.String() != "sha256:"+someID || b.Size != 7 {
		t.Errorf("HashBlob = %v", b)
	}
	id, err := ParseArtifactID(someID)
	if err != nil || id != HashArtifact([]byte("content")) || id.Short() != someID[:12] || id.IsZero() {
		t.Errorf("ParseArtifactID = %v, %v", id, err)
	}
}

func TestIDsInJSON(t *testing.T) {
	in := map[string]ArtifactID{"a": HashArtifact([]byte("content")), "z": {}}
	b, err := json.Marshal(in)
	if want := `{"a":"` + someID + `","z":""}`; err != nil || string(b) != want {
		t.Fatalf("got %s, %v, want %s", b, err, want)
	}
	var out map[string]ArtifactID
	if err := json.Unmarshal(b, &out); err != nil || out["a"] != in["a"] || !out["z"].IsZero() {
		t.Errorf("read back %v, %v", out, err)
	}
	if err := json.Unmarshal([]byte(`{"a":"beef"}`), &out); err == nil {
		t.Error("a short id is accepted")
	}
}

func TestParseIDRefuses(t *testing.T) {
	for _, s := range []string{"", "abc", strings.ToUpper(someID), someID + "00", someID[:63] + "g", "../" + someID[3:], " " + someID[1:]} {
		if id, err := ParseDrvID(s); err == nil || !id.IsZero() {
			t.Errorf("ParseDrvID(%q) = %v, %v", s, id, err)
		}
	}
}

func TestParseBlob(t *testing.T) {
	if b, err := ParseBlob(someID, 7); err != nil || b != HashBlob([]byte("content")) {
		t.Errorf("ParseBlob = %v, %v", b, err)
	}
	for _, c := range []struct {
		sha256 string
		size   int64
	}{{"", 1}, {"../../etc", 1}, {someID, -1}, {strings.ToUpper(someID), 1}} {
		if _, err := ParseBlob(c.sha256, c.size); err == nil {
			t.Errorf("ParseBlob(%q, %d) is accepted", c.sha256, c.size)
		}
	}
}

func FuzzParseArtifactID(f *testing.F) {
	f.Add(someID)
	f.Fuzz(func(t *testing.T, s string) {
		if id, err := ParseArtifactID(s); err == nil && id.String() != s {
			t.Errorf("%q becomes %q", s, id)
		}
	})
}

func FuzzParseDrvID(f *testing.F) {
	f.Add(someID)
	f.Fuzz(func(t *testing.T, s string) {
		if id, err := ParseDrvID(s); err == nil && id.String() != s {
			t.Errorf("%q becomes %q", s, id)
		}
	})
}

func FuzzParseBlob(f *testing.F) {
	f.Add(someID, int64(7))
	f.Fuzz(func(t *testing.T, s string, size int64) {
		if b, err := ParseBlob(s, size); err == nil && (b.Digest.Encoded() != s || b.Size < 0) {
			t.Errorf("%q, %d becomes %v", s, size, b)
		}
	})
}
