package signature

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestTrust(t *testing.T) {
	alice, bob := testKey(t, aliceSeed), testKey(t, bobSeed)
	trust := func(threshold int, keys ...*Key) *Trust {
		t.Helper()
		var public []PublicKey
		for _, k := range keys {
			public = append(public, k.Public())
		}
		tr, err := NewTrust(threshold, public...)
		if err != nil {
			t.Fatal(err)
		}
		return tr
	}
	byAlice, byBob, byNobody := seal(t, "x", alice), seal(t, "x", bob), seal(t, "x", nil)
	a, b := alice.Public().String(), bob.Public().String()
	for _, c := range []struct {
		name      string
		trust     *Trust
		envelopes []*Envelope
		want      []string // what the error says; nothing: trusted
	}{
		{"nil trusts everybody", nil, []*Envelope{byNobody}, nil},
		{"a trusted one", trust(1, alice), []*Envelope{byAlice}, nil},
		{"one of two", trust(1, alice, bob), []*Envelope{byBob}, nil},
		{"one who is not", trust(1, alice), []*Envelope{byBob}, []string{"signed by " + b, "a trusted key"}},
		{"nobody", trust(1, alice), []*Envelope{byNobody}, []string{"nobody signed it"}},
		{"nothing", trust(1, alice), nil, []string{"nobody signed it"}},
		{"one who is among others", trust(1, alice), []*Envelope{byNobody, byBob, byAlice}, nil},
		{"two of two", trust(2, alice, bob), []*Envelope{byBob, byAlice}, nil},
		{"one of two, twice", trust(2, alice, bob), []*Envelope{byAlice, seal(t, "x", alice)}, []string{"signed by " + a + ";", "2 trusted keys"}},
		{"a trusted one and another", trust(2, alice, testKey(t, strings.Repeat("01", 32))), []*Envelope{byAlice, byBob}, []string{"signed by " + a + ", " + b, "2 trusted keys"}},
	} {
		err := c.trust.Check(c.envelopes...)
		if (err == nil) != (c.want == nil) {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		for _, want := range c.want {
			var untrusted *UntrustedError
			if !errors.As(err, &untrusted) || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %q", c.name, err, want)
			}
		}
	}
	if err := trust(2, alice, bob).CheckOne(byAlice); err != nil {
		t.Errorf("one of two, where one is enough: %v", err)
	}
	if err := trust(2, alice, bob).CheckOne(byNobody); !IsUntrusted(fmt.Errorf("read: %w", err)) {
		t.Errorf("nobody, where one is enough: %v", err)
	}
}

func TestNewTrust(t *testing.T) {
	alice, bob := testKey(t, aliceSeed).Public(), testKey(t, bobSeed).Public()
	for _, c := range []struct {
		threshold int
		keys      []PublicKey
		ok        bool
	}{
		{1, []PublicKey{alice}, true},
		{2, []PublicKey{alice, bob}, true},
		{0, []PublicKey{alice}, false},
		{-1, []PublicKey{alice}, false},
		{1, nil, false},
		{2, []PublicKey{alice}, false},
		{2, []PublicKey{alice, alice}, false}, // one key is one voice
	} {
		if _, err := NewTrust(c.threshold, c.keys...); (err == nil) != c.ok {
			t.Errorf("%d of %d: %v", c.threshold, len(c.keys), err)
		}
	}
	mine := []PublicKey{bob, alice, bob}
	if _, err := NewTrust(2, mine...); err != nil || mine[0] != bob || mine[1] != alice || mine[2] != bob {
		t.Errorf("it changed its caller's list: %v, %v", mine, err)
	}
}
