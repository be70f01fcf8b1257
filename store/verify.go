package store

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// A Damage is one thing in the store that is not what it should be.
type Damage struct {
	What   string // a blob, manifest, derivation, statement, root, or the index
	Path   string
	Reason string
	// Artifacts are those that cannot be used because of it.
	Artifacts []ArtifactID

	id  id    // of the object
	drv DrvID // of a statement
}

// What can be damaged.
const (
	damagedBlob       = "blob"
	damagedManifest   = "manifest"
	damagedDerivation = "derivation"
	damagedStatement  = "statement"
	damagedRoot       = "root"
	damagedIndex      = "index"
)

const isMissing = "it is missing"

// A VerifyReport says what was looked at, and what is damaged, sorted by path.
type VerifyReport struct {
	Blobs, Artifacts, Derivations, Statements, Roots int
	Bytes                                            int64 // of blobs
	Damaged                                          []Damage
	// Unindexed is how many artifacts are whole and have no row, as a crash may leave them. They count
	// as not there.
	Unindexed int
	// Trees is how many unpacked trees there are. They are a cache that nothing is known about.
	Trees int
}

// Verify reads everything and compares it with what it should be. It writes nothing, and others may
// use the store meanwhile. What processes that died left behind is no damage.
func (s *Store) Verify(ctx context.Context) (VerifyReport, error) {
	v := &verifier{Store: s, damaged: make(map[id]*Damage)}
	steps := []func(context.Context) error{v.index, v.blobs, v.manifests, v.derivations, v.statements, v.roots, v.trees, v.settle}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return v.report, fmt.Errorf("verify store: %w", err)
		}
	}
	return v.report, nil
}

type verifier struct {
	*Store
	rows         *indexRows // nil: the index is damaged
	seen         []bool     // manifests of rows.artifacts
	seenPairs    []bool     // statements of rows.realisations, which are sorted for this
	count, bytes atomic.Int64

	mu      sync.Mutex
	damaged map[id]*Damage // blobs
	others  []Damage
	report  VerifyReport

	unindexed []ArtifactID
}

func (v *verifier) add(d Damage) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.others = append(v.others, d)
}

// counted returns how many there were since it was last called.
func (v *verifier) counted() int { return int(v.count.Swap(0)) }

func (v *verifier) index(context.Context) error {
	rows, err := v.snapshotIndex()
	var damaged *IndexError
	if errors.As(err, &damaged) || gone(err) {
		v.add(Damage{What: damagedIndex, Path: v.path(indexName), Reason: err.Error()})
		return nil
	}
	if err != nil {
		return err
	}
	slices.SortFunc(rows.realisations, func(a, b realisationRow) int {
		return cmp.Or(a.drv.compare(b.drv.id), a.artifact.compare(b.artifact.id))
	})
	v.rows, v.seen, v.seenPairs = rows, make([]bool, len(rows.artifacts)), make([]bool, len(rows.realisations))
	return nil
}

func (v *verifier) blobs(ctx context.Context) error {
	err := v.walkFanout(ctx, blobDir, func(i id, path string) error {
		got, reason := hashAt(path)
		if reason == nil && got.Digest.Encoded() == i.String() {
			v.count.Add(1)
			v.bytes.Add(got.Size)
			return nil
		}
		if gone(reason) {
			return nil
		}
		if reason == nil {
			reason = fmt.Errorf("its content has %s", got.Digest)
		}
		v.mu.Lock()
		defer v.mu.Unlock()
		v.damaged[i] = &Damage{What: damagedBlob, Path: path, Reason: reason.Error(), id: i}
		return nil
	})
	v.report.Blobs, v.report.Bytes = v.counted(), v.bytes.Load()
	return err
}

func hashAt(path string) (Blob, error) {
	f, err := os.Open(path)
	if err != nil {
		return Blob{}, err
	}
	defer f.Close()
	return hashFile(f)
}

func (v *verifier) manifests(ctx context.Context) error {
	err := v.walkFanout(ctx, artifactDir, func(i id, path string) error {
		a := ArtifactID{i}
		row := v.row(a)
		b, err := os.ReadFile(path)
		if gone(err) {
			return nil
		}
		if err == nil && HashArtifact(b) != a {
			err = fmt.Errorf("its hash is %s", HashArtifact(b))
		}
		var m *Manifest
		if err == nil {
			m, err = DecodeManifest(b)
		}
		if row >= 0 {
			v.seen[row] = true
		}
		if err != nil {
			v.add(Damage{What: damagedManifest, Path: path, Reason: err.Error(), Artifacts: []ArtifactID{a}, id: i})
			return nil
		}
		if row >= 0 && v.rows.artifacts[row].size != m.Size() {
			v.add(Damage{What: damagedIndex, Path: v.path(indexName), Reason: fmt.Sprintf("size %d of artifact %s, which has %d", v.rows.artifacts[row].size, a, m.Size())})
		}
		whole := v.content(a, m, row >= 0)
		v.mu.Lock()
		defer v.mu.Unlock()
		if whole {
			v.report.Artifacts++
		}
		if whole && row < 0 && v.rows != nil {
			v.unindexed = append(v.unindexed, a)
		}
		return nil
	})
	return err
}

// row returns the artifact's place in the index, or -1.
func (v *verifier) row(a ArtifactID) int {
	if v.rows == nil {
		return -1
	}
	i, found := slices.BinarySearchFunc(v.rows.artifacts, a, func(r artifactRow, a ArtifactID) int { return r.id.compare(a.id) })
	if !found {
		return -1
	}
	return i
}

// content checks that an artifact's content is there, and tells the damaged ones whom they break.
// Content that is missing is damage only if the index says that the artifact is whole.
func (v *verifier) content(a ArtifactID, m *Manifest, indexed bool) bool {
	whole := true
	for _, e := range m.Entries {
		if !e.HasContent() {
			continue
		}
		i, _ := parseID(e.Digest.Encoded())
		path := v.blobPath(e.Blob())
		var st unix.Stat_t
		reason := ""
		if err := unix.Lstat(path, &st); err != nil {
			reason = isMissing
		} else if st.Size != e.Size {
			reason = fmt.Sprintf("it has %d bytes, want %d", st.Size, e.Size)
		}
		v.mu.Lock()
		d := v.damaged[i]
		if d == nil && reason != "" && indexed {
			d = &Damage{What: damagedBlob, Path: path, Reason: reason, id: i}
			v.damaged[i] = d
		}
		if d != nil && !slices.Contains(d.Artifacts, a) {
			d.Artifacts = append(d.Artifacts, a)
		}
		v.mu.Unlock()
		whole = whole && d == nil && reason == ""
	}
	return whole
}

func (v *verifier) derivations(ctx context.Context) error {
	err := v.walkFanout(ctx, derivationDir, func(i id, path string) error {
		b, err := os.ReadFile(path)
		if gone(err) {
			return nil
		}
		if err == nil && HashDrv(b) != (DrvID{i}) {
			err = fmt.Errorf("its hash is %s", HashDrv(b))
		}
		if err == nil && !json.Valid(b) {
			err = errors.New("it is no JSON")
		}
		if err != nil {
			v.add(Damage{What: damagedDerivation, Path: path, Reason: err.Error(), id: i, drv: DrvID{i}})
			return nil
		}
		v.count.Add(1)
		return nil
	})
	v.report.Derivations = v.counted()
	return err
}

func (v *verifier) statements(ctx context.Context) error {
	err := v.walkDerivations(ctx, func(drv DrvID, dir string) error {
		return eachStatement(dir, func(a ArtifactID, path string) error {
			b, err := os.ReadFile(path)
			if gone(err) {
				return nil
			}
			if err == nil {
				_, err = decodeStatement(b, drv, a)
			}
			if row := v.pair(drv, a); row >= 0 {
				v.seenPairs[row] = true
			}
			if err != nil {
				v.add(Damage{What: damagedStatement, Path: path, Reason: err.Error(), id: a.id, drv: drv})
				return nil
			}
			v.count.Add(1)
			return nil
		})
	})
	v.report.Statements = v.counted()
	return err
}

func (v *verifier) pair(drv DrvID, a ArtifactID) int {
	if v.rows == nil {
		return -1
	}
	i, found := slices.BinarySearchFunc(v.rows.realisations, realisationRow{drv: drv, artifact: a}, func(r, want realisationRow) int {
		return cmp.Or(r.drv.compare(want.drv.id), r.artifact.compare(want.artifact.id))
	})
	if !found {
		return -1
	}
	return i
}

func (v *verifier) roots(context.Context) error {
	paths, err := v.rootPaths()
	for _, path := range paths {
		if _, err := readRoot(path); gone(err) {
			continue
		} else if err != nil {
			v.add(Damage{What: damagedRoot, Path: path, Reason: err.Error()})
			continue
		}
		v.report.Roots++
	}
	return err
}

func (v *verifier) trees(ctx context.Context) error {
	return eachName(ctx, v.path(treeDir), func(name string) error {
		if _, err := ParseArtifactID(name); err == nil {
			v.report.Trees++
		}
		return nil
	})
}

// settle adds the rows that nothing stands behind, and leaves out what gc removed while we looked.
func (v *verifier) settle(context.Context) error {
	all := v.others
	for _, d := range v.damaged {
		all = append(all, *d)
	}
	if v.rows != nil {
		for i, seen := range v.seen {
			if a := v.rows.artifacts[i].id; !seen {
				all = append(all, Damage{What: damagedManifest, Path: v.fanout(artifactDir, a.String()), Reason: isMissing, Artifacts: []ArtifactID{a}, id: a.id})
			}
		}
		for i, seen := range v.seenPairs {
			if r := v.rows.realisations[i]; !seen {
				all = append(all, Damage{What: damagedStatement, Path: v.statementPath(r.drv, r.artifact), Reason: isMissing, id: r.artifact.id, drv: r.drv})
			}
		}
		err := v.view(func(ix index) error {
			all = slices.DeleteFunc(all, func(d Damage) bool { return vanished(ix, d) })
			v.report.Unindexed = len(slices.DeleteFunc(v.unindexed, ix.hasArtifact)) // others were being put
			return nil
		})
		if err != nil {
			return err
		}
	}
	slices.SortFunc(all, func(a, b Damage) int { return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Reason, b.Reason)) })
	v.report.Damaged = all
	return nil
}

// vanished reports whether something is missing that no row speaks of any more.
func vanished(ix index, d Damage) bool {
	if _, err := os.Lstat(d.Path); !gone(err) {
		return false
	}
	if d.What == damagedStatement {
		return !slices.Contains(ix.realised(d.drv), ArtifactID{d.id})
	}
	return !slices.ContainsFunc(d.Artifacts, ix.hasArtifact)
}
