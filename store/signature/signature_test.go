package signature

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/secure-systems-lab/go-securesystemslib/dsse"
)

// testType is what the envelopes of these tests hold.
const testType = "application/vnd.rpcbuild.test+json"

// The seeds of the first two keys in the tests of RFC 8032.
const (
	aliceSeed = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"
	bobSeed   = "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb"
)

func testKey(t testing.TB, seed string) *Key {
	t.Helper()
	b, err := hex.DecodeString(seed)
	if err != nil {
		t.Fatal(err)
	}
	return &Key{ed25519.NewKeyFromSeed(b)}
}

func seal(t testing.TB, payload string, key *Key) *Envelope {
	t.Helper()
	e, err := Seal(testType, []byte(payload), key)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// golden is an envelope as it lies in every rpc-repo: ed25519 signatures have neither a clock nor a
// salt in them.
const golden = `{"payloadType":"application/vnd.rpcbuild.test+json","payload":"eyJhIjoxfQ==",` +
	`"signatures":[{"keyid":"ed25519:11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=",` +
	`"sig":"V8rbrW/Pecd3rqVnw+vvLbDnLUQAxQjrHFLDr8lf3csfCq3f4xkATfnjWB6jUgZNwrjqDiWT1bSo0m/NRnwAAw=="}]}`

func TestEnvelopeGolden(t *testing.T) {
	alice := testKey(t, aliceSeed)
	if e := seal(t, `{"a":1}`, alice); string(e.Text) != golden {
		t.Errorf("got  %s\nwant %s", e.Text, golden)
	}
	e, err := Open(testType, []byte(golden))
	if err != nil {
		t.Fatal(err)
	}
	if string(e.Payload) != `{"a":1}` || e.Type != testType || string(e.Text) != golden {
		t.Errorf("got %+v", e)
	}
	if diff := cmp.Diff([]string{"ed25519:11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="}, names(e)); diff != "" {
		t.Errorf("signers (-want +got):\n%s", diff)
	}
}

func TestUnsignedEnvelope(t *testing.T) {
	sealed := seal(t, "x", nil)
	const want = `{"payloadType":"application/vnd.rpcbuild.test+json","payload":"eA==","signatures":[]}`
	if string(sealed.Text) != want {
		t.Errorf("got %s, want %s", sealed.Text, want)
	}
	if e, err := Open(testType, sealed.Text); err != nil || len(e.Signers()) != 0 || string(e.Payload) != "x" {
		t.Errorf("got %+v, %v", e, err)
	}
}

// names are the signers of an envelope, for comparison.
func names(e *Envelope) []string {
	var all []string
	for _, s := range e.Signers() {
		all = append(all, s.String())
	}
	return all
}

// TestSigners holds that only who signed these bytes, of this type, is named.
func TestSigners(t *testing.T) {
	alice, bob := testKey(t, aliceSeed), testKey(t, bobSeed)
	byAlice, byBob := signatureOf(t, "x", alice), signatureOf(t, "x", bob)
	for _, c := range []struct {
		name       string
		signatures []dsse.Signature
		want       []*Key
	}{
		{"both", []dsse.Signature{byAlice, byBob}, []*Key{alice, bob}},
		{"in their order", []dsse.Signature{byBob, byAlice}, []*Key{bob, alice}},
		{"twice", []dsse.Signature{byAlice, byAlice}, []*Key{alice}},
		{"of other bytes", []dsse.Signature{signatureOf(t, "y", alice), byBob}, []*Key{bob}},
		{"of other bytes, then of these", []dsse.Signature{signatureOf(t, "y", alice), byAlice}, []*Key{alice}},
		{"under another's name", []dsse.Signature{{KeyID: byBob.KeyID, Sig: byAlice.Sig}}, nil},
		{"cut", []dsse.Signature{{KeyID: byAlice.KeyID, Sig: byAlice.Sig[:84]}}, nil},
		{"empty", []dsse.Signature{{KeyID: byAlice.KeyID}}, nil},
		{"no base64", []dsse.Signature{{KeyID: byAlice.KeyID, Sig: "-"}}, nil},
		{"base64 with a line", []dsse.Signature{{KeyID: byAlice.KeyID, Sig: byAlice.Sig[:4] + "\n" + byAlice.Sig[4:]}}, nil},
		{"of a key of another kind", []dsse.Signature{{KeyID: "SHA256:abc", Sig: byAlice.Sig}, byBob}, []*Key{bob}},
		{"of the key that is zero", []dsse.Signature{{KeyID: algorithm + encode(make([]byte, 32)), Sig: encode(make([]byte, 64))}}, nil},
	} {
		text := marshal(t, dsse.Envelope{PayloadType: testType, Payload: encode([]byte("x")), Signatures: c.signatures})
		e, err := Open(testType, text)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		var want []string
		for _, k := range c.want {
			want = append(want, k.Public().String())
		}
		if diff := cmp.Diff(want, names(e)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}

// TestTheTypeIsSigned holds that a statement cannot be passed off as something else.
func TestTheTypeIsSigned(t *testing.T) {
	alice := testKey(t, aliceSeed)
	other, err := Seal("application/vnd.rpcbuild.other+json", []byte("x"), alice)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(testType, other.Text); err == nil || !strings.Contains(err.Error(), "other+json") {
		t.Errorf("got %v", err)
	}
	renamed := bytes.Replace(other.Text, []byte("other+json"), []byte("test+json"), 1)
	if e, err := Open(testType, renamed); err != nil || len(e.Signers()) != 0 {
		t.Errorf("signers %v, %v; want nobody", names(e), err)
	}
}

func TestOpenRefuses(t *testing.T) {
	many := make([]dsse.Signature, signaturesLimit+1)
	for name, c := range map[string]struct{ text, want string }{
		"nothing":             {"", "EOF"},
		"no JSON":             {"x", "invalid character"},
		"cut":                 {golden[:len(golden)-1], "EOF"},
		"no object":           {"null", "canonical"},
		"white space":         {" " + golden, "canonical"},
		"the end of a line":   {golden + "\n", "canonical"},
		"two":                 {golden + golden, "canonical"},
		"another field":       {strings.Replace(golden, `{"pay`, `{"x":1,"pay`, 1), `unknown field "x"`},
		"a field twice":       {strings.Replace(golden, `{"pay`, `{"payload":"","pay`, 1), "canonical"},
		"a field's case":      {strings.Replace(golden, `"payload"`, `"PAYLOAD"`, 1), "canonical"},
		"another order":       {`{"payload":"","payloadType":"` + testType + `","signatures":[]}`, "canonical"},
		"an escape":           {strings.Replace(golden, "eyJ", `\u0065yJ`, 1), "canonical"},
		"no signatures":       {`{"payloadType":"` + testType + `","payload":""}`, "canonical"},
		"null for signatures": {`{"payloadType":"` + testType + `","payload":"","signatures":null}`, "canonical"},
		"no base64":           {strings.Replace(golden, "eyJhIjoxfQ==", "eyJhIjoxfQ", 1), "payload"},
		"bits behind the end": {strings.Replace(golden, "eyJhIjoxfQ==", "eyJhIjoxfR==", 1), "payload"},
		"base64 for URLs":     {strings.Replace(golden, "eyJhIjoxfQ==", "_-__", 1), "payload"},
		"too many signatures": {string(marshal(t, dsse.Envelope{PayloadType: testType, Signatures: many})), "33 signatures"},
	} {
		if _, err := Open(testType, []byte(c.text)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// FuzzOpen wants what Open promises of every envelope that it accepts: one form, and signers whose
// signatures are valid.
func FuzzOpen(f *testing.F) {
	f.Add([]byte(golden))
	f.Add(seal(f, "x", nil).Text)
	f.Add([]byte(`{"payloadType":"` + testType + `","payload":"","signatures":[{"keyid":"ed25519:AA==","sig":""}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		e, err := Open(testType, text)
		if err != nil {
			return
		}
		if !bytes.Equal(e.Text, text) {
			t.Errorf("%q: kept as %q", text, e.Text)
		}
		if again := reopened(t, e); !bytes.Equal(again, text) {
			t.Errorf("%q: has another form, %q", text, again)
		}
		for _, s := range e.Signers() {
			if back, err := ParsePublicKey(s.String()); err != nil || back != s {
				t.Errorf("signer %s: %v", s, err)
			}
		}
	})
}
