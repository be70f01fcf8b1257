package signature

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"
)

func marshal(t testing.TB, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// signatureOf is key's signature of a payload, as it stands in an envelope.
func signatureOf(t testing.TB, payload string, key *Key) dsse.Signature {
	t.Helper()
	sig, err := key.Sign(context.Background(), dsse.PAE(testType, []byte(payload)))
	if err != nil {
		t.Fatal(err)
	}
	return dsse.Signature{KeyID: key.Public().String(), Sig: encode(sig)}
}

// reopened writes an envelope anew from what it was read as.
func reopened(t testing.TB, e *Envelope) []byte {
	t.Helper()
	var d dsse.Envelope
	if err := json.Unmarshal(e.Text, &d); err != nil {
		t.Fatal(err)
	}
	d.PayloadType, d.Payload = e.Type, encode(e.Payload)
	return marshal(t, d)
}
