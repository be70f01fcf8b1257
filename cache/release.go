package cache

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"

	"github.com/opencontainers/go-digest"

	"github.com/rcbops/rpcbuild/store"
	"github.com/rcbops/rpcbuild/store/signature"
)

// A Release is what cache/v1/release/<name> says: what a release is made of.
type Release struct {
	// Name is the release's, such as r33.0.0.
	Name string
	// Lock is the text of the lock that it was made from.
	Lock []byte
	// Items are its artifacts. [Repo.Push] publishes them in this order, so each comes after what
	// it speaks of, such as a list of wheels after the wheels.
	Items []Item

	sequence int64               // counts what was published under the name, so that an old answer is known for one
	signer   signature.PublicKey // who pushed it; zero if nobody signed it
	previous string              // SHA-256 of the file with the release before it had this lock, in history/
}

// An Item is one artifact of a release.
type Item struct {
	Name     string           `json:"name"` // unique in the release, such as "wheel/markupsafe"
	Kind     string           `json:"kind"`
	Drv      store.DrvID      `json:"drv"`
	Artifact store.ArtifactID `json:"artifact"`
}

func (i Item) hint() hint { return hint{i.Drv, i.Artifact} }

// releaseType is the type of what a release's envelope holds.
const releaseType = "application/vnd.rpcbuild.release+json"

// releaseFile is a Release's JSON, which the envelope holds.
type releaseFile struct {
	Schema   int    `json:"schema"`
	Name     string `json:"name"`
	Sequence int64  `json:"sequence"`
	Previous string `json:"previous,omitempty"`
	Lock     []byte `json:"lock"` // base64
	Items    []Item `json:"items"`
}

func (r Release) encode() ([]byte, error) {
	if err := r.validate(); err != nil {
		return nil, err
	}
	return store.CanonicalJSON(releaseFile{schema, r.Name, r.sequence, r.previous, r.Lock, r.Items})
}

// seal returns the release in an envelope that key signed.
func (r Release) seal(key *signature.Key) ([]byte, error) {
	payload, err := r.encode()
	if err != nil {
		return nil, err
	}
	e, err := signature.Seal(releaseType, payload, key)
	if err != nil {
		return nil, fmt.Errorf("release %s: %w", r.Name, err)
	}
	return append(e.Text, '\n'), nil
}

// openRelease reads a release's envelope, signed by one whom trust knows.
func openRelease(text []byte, trust *signature.Trust) (Release, error) {
	e, err := signature.Open(releaseType, bytes.TrimSuffix(text, []byte("\n")))
	if err != nil {
		return Release{}, fmt.Errorf("parse release: %w", err)
	}
	if err := trust.CheckOne(e); err != nil {
		return Release{}, err
	}
	r, err := parseRelease(e.Payload)
	r.signer = firstSigner(e)
	return r, err
}

func parseRelease(b []byte) (Release, error) {
	var f releaseFile
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&f); err != nil {
		return Release{}, fmt.Errorf("parse release: %w", err)
	}
	if f.Schema != schema {
		return Release{}, fmt.Errorf("parse release: schema %d, this rpcbuild knows %d", f.Schema, schema)
	}
	if f.Sequence < 1 || f.Previous != "" && digest.NewDigestFromEncoded(digest.SHA256, f.Previous).Validate() != nil {
		return Release{}, fmt.Errorf("parse release: sequence %d, previous %q: want a number from 1 on and a SHA-256", f.Sequence, f.Previous)
	}
	r := Release{Name: f.Name, Lock: f.Lock, Items: f.Items, sequence: f.Sequence, previous: f.Previous}
	if err := r.validate(); err != nil {
		return Release{}, fmt.Errorf("parse release: %w", err)
	}
	return r, nil
}

func (r Release) validate() error {
	if err := checkRelease(r.Name); err != nil {
		return err
	}
	names := make(map[string]bool, len(r.Items))
	gives := make(map[store.DrvID]store.ArtifactID, len(r.Items))
	for _, it := range r.Items {
		other, twice := gives[it.Drv]
		switch {
		case it.Name == "" || it.Drv.IsZero() || it.Artifact.IsZero():
			return fmt.Errorf("release %s: item %q: want a name, a derivation and an artifact", r.Name, it.Name)
		case names[it.Name]:
			return fmt.Errorf("release %s: item %q: listed twice", r.Name, it.Name)
		case twice && other != it.Artifact:
			return fmt.Errorf("release %s: item %q: its derivation gives another artifact elsewhere in the release", r.Name, it.Name)
		}
		names[it.Name], gives[it.Drv] = true, it.Artifact
	}
	return nil
}

// same reports whether both say the same.
func (r Release) same(o Release) bool {
	return bytes.Equal(r.Lock, o.Lock) && slices.Equal(r.Items, o.Items)
}

// mergeReleases returns what is published after next was pushed over old. Jobs push the parts of a
// release one by one: while its lock is the same, what others pushed stays.
func mergeReleases(old, next Release) Release {
	if !bytes.Equal(old.Lock, next.Lock) {
		return next
	}
	names := make(map[string]Item, len(next.Items))
	drvs := make(map[store.DrvID]bool, len(next.Items))
	for _, it := range next.Items {
		names[it.Name], drvs[it.Drv] = it, true
	}
	var others []Item
	for _, it := range old.Items {
		if _, ok := names[it.Name]; !ok && !drvs[it.Drv] {
			others = append(others, it)
		}
		if names[it.Name] == it {
			delete(names, it.Name)
		}
	}
	if len(names) == 0 {
		return old // it said all of this already
	}
	return Release{Name: next.Name, Lock: next.Lock, Items: append(others, next.Items...), sequence: old.sequence, previous: old.previous}
}

// Release reads what the release of that name is made of. The error wraps [store.ErrNotFound] if
// none was pushed. One that is older than what was read before is refused.
func (r *Repo) Release(ctx context.Context, name string) (Release, error) {
	if err := checkRelease(name); err != nil {
		return Release{}, err
	}
	b, err := r.read(ctx, releasePath(name), releaseLimit)
	if err != nil {
		return Release{}, r.missing("release "+name, err)
	}
	return r.openRelease(b, name)
}

// openRelease reads the file of the release of that name.
func (r *Repo) openRelease(b []byte, name string) (Release, error) {
	kept := r.kept("release", name)
	rel, err := openRelease(b, r.opts.Trust)
	if err == nil && rel.Name != name {
		err = fmt.Errorf("it is of release %q", rel.Name)
	}
	if err == nil && rel.sequence < keptSequence(kept) {
		err = fmt.Errorf("it is number %d, and was %d before: an old one is played again (%s)", rel.sequence, keptSequence(kept), r.forgetHint())
	}
	if err != nil {
		return Release{}, r.wrong(releasePath(name), err)
	}
	if rel.sequence > keptSequence(kept) {
		keep(kept, strconv.AppendInt(nil, rel.sequence, 10))
	}
	return rel, nil
}

// keptSequence returns the number of the newest release that was read under a name.
func keptSequence(name string) int64 {
	b, err := readKept(name)
	if err != nil {
		return 0
	}
	n, _ := strconv.ParseInt(string(b), 10, 64)
	return n
}
