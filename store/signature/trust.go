package signature

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// A Trust says whose word counts, and how many of them must say the same. nil trusts everybody. It
// is never changed, so it is safe for concurrent use.
type Trust struct {
	keys      []PublicKey
	threshold int
}

// NewTrust returns the trust in keys, of which threshold must have signed. A key that is named twice
// counts once.
func NewTrust(threshold int, keys ...PublicKey) (*Trust, error) {
	keys = slices.Clone(keys)
	slices.SortFunc(keys, func(a, b PublicKey) int { return strings.Compare(a.String(), b.String()) })
	keys = slices.Compact(keys)
	if threshold < 1 || threshold > len(keys) {
		return nil, fmt.Errorf("trust %d of %d keys: want at least one, and no more than there are", threshold, len(keys))
	}
	return &Trust{keys, threshold}, nil
}

// An UntrustedError says that not enough trusted keys signed something.
type UntrustedError struct {
	Signers []PublicKey // whose signatures are valid, trusted or not
	Want    int         // how many trusted ones were wanted
}

func (e *UntrustedError) Error() string {
	who := "nobody signed it"
	if len(e.Signers) > 0 {
		names := make([]string, len(e.Signers))
		for i, s := range e.Signers {
			names[i] = s.String()
		}
		who = "it is signed by " + strings.Join(names, ", ")
	}
	trusted := "a trusted key"
	if e.Want > 1 {
		trusted = fmt.Sprintf("%d trusted keys", e.Want)
	}
	return fmt.Sprintf("%s; want the signature of %s (trust in the configuration names them)", who, trusted)
}

// Check returns nil if enough trusted keys signed envelopes that say the same, and otherwise an
// [*UntrustedError]. Whether they say the same is for the caller to know.
func (t *Trust) Check(same ...*Envelope) error { return t.check(same, t.want()) }

// CheckOne is [Trust.Check] for what one trusted key is enough for, such as what rpc-repo holds
// now: that says where things are, and not what they are.
func (t *Trust) CheckOne(e *Envelope) error { return t.check([]*Envelope{e}, 1) }

func (t *Trust) want() int {
	if t == nil {
		return 0
	}
	return t.threshold
}

func (t *Trust) check(envelopes []*Envelope, want int) error {
	if t == nil {
		return nil
	}
	var signers []PublicKey
	trusted := 0
	for _, e := range envelopes {
		for _, s := range e.signers {
			if slices.Contains(signers, s) {
				continue
			}
			signers = append(signers, s)
			if slices.Contains(t.keys, s) {
				trusted++
			}
		}
	}
	if trusted < want {
		return &UntrustedError{Signers: signers, Want: want}
	}
	return nil
}

// IsUntrusted reports whether err says that a signature was missing or not a trusted one.
func IsUntrusted(err error) bool {
	var e *UntrustedError
	return errors.As(err, &e)
}
