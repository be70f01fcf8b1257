package cache

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"github.com/rcbops/rpcbuild/store"
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
}

// An Item is one artifact of a release.
type Item struct {
	Name     string           `json:"name"` // unique in the release, such as "wheel/markupsafe"
	Kind     string           `json:"kind"`
	Drv      store.DrvID      `json:"drv"`
	Artifact store.ArtifactID `json:"artifact"`
}

func (i Item) hint() hint { return hint{i.Drv, i.Artifact} }

// releaseFile is a Release's JSON.
type releaseFile struct {
	Schema int    `json:"schema"`
	Name   string `json:"name"`
	Lock   []byte `json:"lock"` // base64
	Items  []Item `json:"items"`
}

func (r Release) encode() ([]byte, error) {
	if err := r.validate(); err != nil {
		return nil, err
	}
	return store.CanonicalJSON(releaseFile{Schema: schema, Name: r.Name, Lock: r.Lock, Items: r.Items})
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
	r := Release{Name: f.Name, Lock: f.Lock, Items: f.Items}
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
	return Release{Name: next.Name, Lock: next.Lock, Items: append(others, next.Items...)}
}

// Release reads what the release of that name is made of. The error wraps [store.ErrNotFound] if
// none was pushed.
func (r *Repo) Release(ctx context.Context, name string) (Release, error) {
	if err := checkRelease(name); err != nil {
		return Release{}, err
	}
	path := releasePath(name)
	b, err := r.read(ctx, path, releaseLimit)
	if err != nil {
		return Release{}, r.missing("release "+name, err)
	}
	rel, err := parseRelease(b)
	if err == nil && rel.Name != name {
		err = fmt.Errorf("it is of release %q", rel.Name)
	}
	if err != nil {
		return Release{}, r.wrong(path, err)
	}
	return rel, nil
}
