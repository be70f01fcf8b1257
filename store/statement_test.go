package store

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rcbops/rpcbuild/store/signature"
)

// goldenKey is a key that never changes, because ed25519 signatures hold neither a clock nor a salt.
func goldenKey(t testing.TB) *signature.Key {
	t.Helper()
	key, err := signature.Load(filepath.Join("testdata", "signing.pem"))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newKey(t testing.TB) *signature.Key {
	t.Helper()
	key, err := signature.Generate(filepath.Join(t.TempDir(), "signing.pem"))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func stated(t testing.TB, r Realisation, key *signature.Key) Statement {
	t.Helper()
	s, err := NewStatement(r, key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// by is a realisation that every builder makes, as that one states it.
func by(t testing.TB, builder string, key *signature.Key) Statement {
	t.Helper()
	r := realisation("drv", "artifact")
	r.Builder = builder
	return stated(t, r, key)
}

// TestStatementGolden holds the form in which statements lie in stores and rpc-repos: one that was
// signed can never be written anew.
func TestStatementGolden(t *testing.T) {
	s := by(t, "here", goldenKey(t))
	s, _ = s.With(by(t, "nobody", nil))
	want, err := os.ReadFile(filepath.Join("testdata", "statement"))
	if err != nil {
		t.Fatal(err)
	}
	if got := s.Encode(); string(got) != string(want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	read, err := ParseStatement(want)
	if err != nil {
		t.Fatal(err)
	}
	if read.Realisation != realisation("drv", "artifact") || len(read.Envelopes) != 1 {
		t.Errorf("read %+v", read)
	}
	if signers := read.Signers(); len(signers) != 1 || signers[0] != goldenKey(t).Public() {
		t.Errorf("signers %v", signers)
	}
}

func TestWith(t *testing.T) {
	alice, bob := newKey(t), newKey(t)
	unsigned := by(t, "unsigned", nil)
	byAlice, byBob := by(t, "alice", alice), by(t, "bob", bob)
	join := func(all ...Statement) Statement {
		s := all[0]
		for _, o := range all[1:] {
			s.Envelopes = append(s.Envelopes[:len(s.Envelopes):len(s.Envelopes)], o.Envelopes...)
		}
		return s
	}
	for _, c := range []struct {
		name    string
		s, o    Statement
		want    Statement
		changed bool
	}{
		{"another signer", byAlice, byBob, join(byAlice, byBob), true},
		{"the same again", byAlice, byAlice, byAlice, false},
		{"the same signer, said otherwise", byAlice, by(t, "alice later", alice), byAlice, false},
		{"nobody's", byAlice, unsigned, byAlice, false},
		{"to nobody's", unsigned, byAlice, join(unsigned, byAlice), true},
		{"nobody's again", unsigned, by(t, "unsigned too", nil), unsigned, false},
		{"only what is new", byAlice, join(byAlice, byBob, byBob), join(byAlice, byBob), true},
	} {
		before := string(c.s.Encode())
		got, changed := c.s.With(c.o)
		if diff := cmp.Diff(string(c.want.Encode()), string(got.Encode())); diff != "" || changed != c.changed {
			t.Errorf("%s: changed %v (-want +got):\n%s", c.name, changed, diff)
		}
		if got.Realisation != c.s.Realisation {
			t.Errorf("%s: the first is not the first any more: %v", c.name, got.Realisation)
		}
		if string(c.s.Encode()) != before {
			t.Errorf("%s: it changed the statement itself", c.name)
		}
		if read, err := ParseStatement(got.Encode()); err != nil || read.Realisation != got.Realisation {
			t.Errorf("%s: read back: %v, %v", c.name, read.Realisation, err)
		}
	}
}

// TestTrusted holds that the word of somebody untrusted never stands where a trusted one's does.
func TestTrusted(t *testing.T) {
	alice, bob, mallory := newKey(t), newKey(t), newKey(t)
	s := by(t, "the machine that everybody knows", mallory)
	s, _ = s.With(by(t, "alice", alice))
	s, _ = s.With(by(t, "bob", bob))
	trust, err := signature.NewTrust(2, alice.Public(), bob.Public())
	if err != nil {
		t.Fatal(err)
	}
	got, err := s.Trusted(trust)
	if err != nil {
		t.Fatal(err)
	}
	want, _ := by(t, "alice", alice).With(by(t, "bob", bob))
	if got.Builder != "alice" || string(got.Encode()) != string(want.Encode()) {
		t.Errorf("got %s", got.Encode())
	}
	var untrusted *signature.UntrustedError
	if _, err := by(t, "alice", alice).Trusted(trust); !errors.As(err, &untrusted) {
		t.Errorf("one of two: %v", err)
	}
	if got, err := s.Trusted(nil); err != nil || len(got.Envelopes) != 3 {
		t.Errorf("trust in everybody: %v, %v", got, err)
	}
}

func TestParseStatementRefuses(t *testing.T) {
	key := newKey(t)
	good := by(t, "here", key).Encode()
	sealed := func(payload string) string {
		e, err := signature.Seal(RealisationType, []byte(payload), key)
		if err != nil {
			t.Fatal(err)
		}
		return string(e.Text) + "\n"
	}
	sealedAs := func(change func(*Realisation)) string {
		r := realisation("drv", "artifact")
		change(&r)
		b, err := CanonicalJSON(r)
		if err != nil {
			t.Fatal(err)
		}
		return sealed(string(b))
	}
	other, err := signature.Seal("application/json", []byte("{}"), key)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ text, want string }{
		"nothing":              {"", "it is empty"},
		"an empty line":        {string(good) + "\n", "EOF"},
		"two ends of a line":   {strings.TrimSuffix(string(good), "\n") + "\r\n", "canonical"},
		"bare":                 {`{"drv":"` + strings.Repeat("0", 64) + `"}`, "unknown field"},
		"another type":         {string(other.Text), "application/json"},
		"no realisation":       {sealed("{}"), "canonical"},
		"another field":        {sealed(`{"a":1}`), "unknown field"},
		"white space inside":   {sealed(" {}"), "canonical"},
		"no derivation":        {sealedAs(func(r *Realisation) { r.Drv = DrvID{} }), ""},
		"no artifact":          {sealedAs(func(r *Realisation) { r.Artifact = ArtifactID{} }), ""},
		"a size below zero":    {sealedAs(func(r *Realisation) { r.Size = -1 }), "want a derivation"},
		"a time below zero":    {sealedAs(func(r *Realisation) { r.Seconds = -1 }), "want a derivation"},
		"a time zone":          {sealedAs(func(r *Realisation) { r.Time = r.Time.In(time.FixedZone("", 3600)) }), "want UTC"},
		"a part of a second":   {sealedAs(func(r *Realisation) { r.Time = r.Time.Add(time.Millisecond) }), "whole seconds"},
		"an escape sequence":   {sealedAs(func(r *Realisation) { r.Builder = "\x1b[2J" }), "can be printed"},
		"two lines":            {sealedAs(func(r *Realisation) { r.Tool = "a\nb" }), "can be printed"},
		"text from the right":  {sealedAs(func(r *Realisation) { r.Builder = "\u202egro" }), "can be printed"},
		"a novel":              {sealedAs(func(r *Realisation) { r.Tool = strings.Repeat("x", wordsLimit+1) }), "at most 1024 bytes"},
		"two artifacts":        {string(good) + string(stated(t, realisation("drv", "other"), key).Encode()), "different realisations"},
		"two derivations":      {string(good) + string(stated(t, realisation("other", "artifact"), key).Encode()), "different realisations"},
		"two sizes":            {string(good) + sealedAs(func(r *Realisation) { r.Size++ }), "different realisations"},
		"too many":             {strings.Repeat(string(good), envelopesLimit+1), "more than 32 envelopes"},
		"too long":             {strings.Repeat(" ", StatementLimit), "65536 bytes"},
		"the end of it is cut": {string(good) + string(good[:len(good)/2]), "EOF"},
	} {
		if s, err := ParseStatement([]byte(c.text)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, %v, want %q", name, s, err, c.want)
		}
	}
	if _, err := ParseStatement(bytes.TrimSuffix(good, []byte("\n"))); err != nil {
		t.Errorf("without the end of the last line: %v", err)
	}
}

func TestNewStatementRefuses(t *testing.T) {
	r := realisation("drv", "artifact")
	r.Builder = "a\tb"
	if _, err := NewStatement(r, nil); err == nil || !strings.Contains(err.Error(), r.Drv.String()) {
		t.Errorf("got %v", err)
	}
}

// TestStatementLimits holds that a statement to which all is added that fits can be read again.
func TestStatementLimits(t *testing.T) {
	long := by(t, strings.Repeat("0", wordsLimit), nil)
	for changed := true; changed; {
		long, changed = long.With(by(t, strings.Repeat("\"", wordsLimit), newKey(t)))
	}
	if read, err := ParseStatement(long.Encode()); err != nil || len(read.Envelopes) != len(long.Envelopes) || len(read.Envelopes) == envelopesLimit {
		t.Errorf("%d long envelopes, %v", len(read.Envelopes), err)
	}
	s := by(t, "0", nil)
	for i := range envelopesLimit + 3 {
		next, changed := s.With(by(t, fmt.Sprint(i), newKey(t)))
		if want := len(s.Envelopes) < envelopesLimit; changed != want {
			t.Fatalf("the envelope after %d: changed %v, want %v", len(s.Envelopes), changed, want)
		}
		s = next
	}
	if read, err := ParseStatement(s.Encode()); err != nil || len(read.Envelopes) != envelopesLimit {
		t.Errorf("%d envelopes, %v", len(read.Envelopes), err)
	}
}

func TestStoreAddsSigners(t *testing.T) {
	s := open(t)
	alice, bob := newKey(t), newKey(t)
	for _, add := range []Statement{by(t, "alice", alice), by(t, "bob", bob), by(t, "alice again", alice), by(t, "nobody", nil)} {
		if err := s.AddStatement(add); err != nil {
			t.Fatal(err)
		}
	}
	r := realisation("drv", "artifact")
	got, err := s.Statement(r.Drv, r.Artifact)
	if err != nil {
		t.Fatal(err)
	}
	if signers := got.Signers(); got.Builder != "alice" || len(signers) != 2 || signers[0] != alice.Public() || signers[1] != bob.Public() {
		t.Errorf("got %+v", got)
	}
}

func FuzzParseStatement(f *testing.F) {
	golden, err := os.ReadFile(filepath.Join("testdata", "statement"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(golden)
	f.Add(by(f, "nobody", nil).Encode())
	f.Add(bytes.TrimSuffix(golden, []byte("\n")))
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := ParseStatement(text)
		if err != nil {
			return
		}
		if got := s.Encode(); !bytes.Equal(bytes.TrimSuffix(got, []byte("\n")), bytes.TrimSuffix(text, []byte("\n"))) {
			t.Errorf("%q: written as %q", text, got)
		}
		if s.Drv.IsZero() || s.Artifact.IsZero() {
			t.Errorf("%q: of nothing", text)
		}
	})
}
