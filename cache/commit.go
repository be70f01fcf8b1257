package cache

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/rcbops/rpcbuild/store"
)

// uploadManifests makes the artifacts' manifests, their derivations, and how their streams are cut:
// their content is there. All of it is also put into a bundle.
func (p *push) uploadManifests(ctx context.Context) error {
	var mu sync.Mutex
	var all []smallFile
	err := p.each(ctx, func(ctx context.Context, it *pushItem) error {
		m, err := it.manifest.Encode()
		if err != nil {
			return err
		}
		files := []smallFile{{manifestPath(it.Artifact), m}}
		if it.content != nil {
			files = append(files, smallFile{contentPath(it.Artifact), it.content.encode()})
		}
		if it.derivation != nil {
			files = append(files, smallFile{derivationPath(it.Drv), it.derivation})
		}
		for _, f := range files {
			if err := p.put(ctx, f); err != nil {
				return err
			}
		}
		p.pieces.learn(p.store, it.Artifact, streamed(it.manifest), it.content)
		mu.Lock()
		defer mu.Unlock()
		all = append(all, files...)
		return nil
	})
	if err != nil {
		return err
	}
	ref, err := p.uploadBundle(ctx, all)
	for _, it := range p.items {
		it.metadata = ref
	}
	return err
}

// uploadBundle makes the bundle of the files, whose order does not matter.
func (p *push) uploadBundle(ctx context.Context, files []smallFile) (bundleRef, error) {
	slices.SortFunc(files, func(a, b smallFile) int { return strings.Compare(a.path, b.path) })
	b, err := makeBundle(slices.CompactFunc(files, func(a, b smallFile) bool { return a.path == b.path }))
	if err != nil {
		return bundleRef{}, err
	}
	if len(b) > bundlePacked {
		return bundleRef{}, nil
	}
	ref := store.HashBlob(b)
	if err := p.put(ctx, smallFile{bundlePath(ref), b}); err != nil {
		return bundleRef{}, err
	}
	keep(p.kept("bundle", ref.Digest.Encoded()), b)
	return ref, nil
}

// put makes a small file whose name decides its content, if it is not there.
func (p *push) put(ctx context.Context, f smallFile) error {
	size, err := p.stat(ctx, f.path)
	if err == nil && size == int64(len(f.content)) {
		return nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return p.to.Put(ctx, f.path, bytes.NewReader(f.content))
}

// uploadStatements makes the statements: the artifacts that they name are there.
func (p *push) uploadStatements(ctx context.Context) error {
	return p.each(ctx, func(ctx context.Context, it *pushItem) error {
		err := p.to.Create(ctx, statementPath(it.hint()), bytes.NewReader(it.statement.Encode()))
		if errors.Is(err, fs.ErrExist) {
			return p.addStatement(ctx, it)
		}
		return err
	})
}

// vouch adds this machine's signatures to statements that are there.
func (p *push) vouch(ctx context.Context) error {
	for _, it := range p.vouched {
		if err := p.addStatement(ctx, it); err != nil {
			return fmt.Errorf("%s: %w", it.Name, err)
		}
	}
	return nil
}

// addStatement adds the item's statement to what others say of the same. What cannot be read any more is
// replaced.
func (p *push) addStatement(ctx context.Context, it *pushItem) error {
	err := p.to.Update(ctx, statementPath(it.hint()), store.StatementLimit, func(old []byte) ([]byte, error) {
		theirs, err := parseStatement(old, it.hint())
		if err != nil {
			return it.statement.Encode(), nil
		}
		all, more := theirs.With(it.statement)
		if !more {
			it.statement = theirs
			return old, nil
		}
		it.statement = all
		return all.Encode(), nil
	})
	if err == nil {
		p.mu.Lock()
		delete(p.statements, it.hint())
		p.mu.Unlock()
	}
	return err
}

// updateIndexes adds the items' lines to the indexes that artifacts share.
func (p *push) updateIndexes(ctx context.Context) error {
	lines := make(map[string][]store.Line)
	for _, it := range p.items {
		for _, l := range it.manifest.Lines {
			lines[l.File] = append(lines[l.File], l)
		}
	}
	for _, file := range slices.Sorted(maps.Keys(lines)) {
		err := p.changeIndex(ctx, file, func(ix index) {
			for _, l := range lines[file] {
				ix[l.Key] = l.Line
			}
		})
		if err != nil {
			return fmt.Errorf("index %s: %w", file, err)
		}
	}
	return nil
}

// changeIndex changes the lines of one index. A consumer's file has no keys, so they are kept beside it in
// a file of ours, from which the consumer's is written. Both steps read what is newest: whichever of
// two pushers comes last writes the lines of both, and a step that a crash left out is made up for
// by the next push.
func (p *push) changeIndex(ctx context.Context, file string, change func(index)) error {
	err := p.to.Update(ctx, indexPath(file), indexLimit, func(old []byte) ([]byte, error) {
		index, err := p.index(ctx, file, old)
		if err != nil {
			return nil, err
		}
		change(index)
		return store.CanonicalJSON(index)
	})
	if err != nil {
		return err
	}
	return p.to.Update(ctx, file, indexLimit, func([]byte) ([]byte, error) {
		b, err := p.read(ctx, indexPath(file), indexLimit)
		if err != nil {
			return nil, err
		}
		index, err := parseIndex(b)
		if err != nil {
			return nil, p.wrong(indexPath(file), err)
		}
		return index.encode(), nil
	})
}

// index returns the lines of an index. Where only the consumer's file is there, its lines are kept:
// each is its own key.
func (p *push) index(ctx context.Context, file string, b []byte) (index, error) {
	if b != nil {
		ix, err := parseIndex(b)
		if err != nil {
			return nil, p.wrong(indexPath(file), err)
		}
		return ix, nil
	}
	ix := make(index)
	b, err := p.read(ctx, file, indexLimit)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for line := range strings.Lines(string(b)) {
		if line = strings.TrimSuffix(line, "\n"); line != "" {
			ix[line] = line
		}
	}
	return ix, nil
}

// An index is the lines that artifacts share, by their keys. Its file is JSON with sorted keys.
type index map[string]string

func parseIndex(b []byte) (index, error) {
	var ix index
	if err := json.Unmarshal(b, &ix); err != nil {
		return nil, fmt.Errorf("parse index: %w", err)
	}
	if ix == nil {
		return nil, errors.New("parse index: want lines by their keys")
	}
	for key, line := range ix {
		if key == "" || strings.ContainsAny(key+line, "\n\x00") {
			return nil, fmt.Errorf("parse index: key %q: want one line", key)
		}
	}
	return ix, nil
}

// encode returns the consumers' form: the lines, sorted by key.
func (ix index) encode() []byte {
	var b bytes.Buffer
	for _, key := range slices.Sorted(maps.Keys(ix)) {
		b.WriteString(ix[key])
		b.WriteByte('\n')
	}
	return b.Bytes()
}

// updateGeneration makes the generation that holds the items, too, and then points at it. This is
// when they exist.
func (p *push) updateGeneration(ctx context.Context, rel Release) error {
	if err := p.lease.hold(ctx); err != nil {
		return err
	}
	return p.to.Update(ctx, currentPath, pointerLimit, func(old []byte) ([]byte, error) {
		if err := p.lease.held(); err != nil {
			return nil, err
		}
		known, err := p.current(ctx, old)
		if err != nil {
			return nil, err
		}
		if !p.opts.Replace {
			for _, it := range p.items {
				if err := p.checkConflict(ctx, known, it); err != nil {
					return nil, err
				}
			}
		}
		entries, err := p.merge(ctx, known, rel)
		if err != nil {
			return nil, err
		}
		return p.makeGeneration(ctx, known.pointer.Sequence+1, newGeneration(entries))
	})
}

// current reads what is the newest generation now; text is that of its pointer, nil if there is none.
func (p *push) current(ctx context.Context, text []byte) (*snapshot, error) {
	if text == nil {
		return emptySnapshot(), nil
	}
	held := p.held()
	at, err := p.pointer(text, held)
	if err != nil {
		return nil, err
	}
	if at.Generation == held.pointer.Generation {
		return held, nil
	}
	return p.load(ctx, at)
}

// merge returns what there is with the push's items: in place of what there was to say of their
// derivations. The statements of all of the release, whoever pushed them, go into one new bundle.
func (p *push) merge(ctx context.Context, known *snapshot, rel Release) ([]entry, error) {
	mine := make(map[hint]*pushItem, len(p.items))
	drvs := make(map[store.DrvID]bool, len(p.items))
	for _, it := range p.items {
		mine[it.hint()], drvs[it.Drv] = it, true
	}
	said := make(map[hint]store.Statement, len(p.items)+len(p.vouched))
	for _, it := range append(slices.Clip(p.items), p.vouched...) {
		said[it.hint()] = it.statement
	}
	var entries []entry
	for _, e := range known.entries() {
		if !drvs[e.drv] {
			entries = append(entries, e)
		}
	}
	for h, it := range mine {
		entries = append(entries, entry{hint: h, size: it.manifest.Size(), metadata: it.metadata})
	}
	members, err := p.members(ctx, rel)
	if err != nil {
		return nil, err
	}
	var files []smallFile
	for i := range entries {
		e := &entries[i]
		s, ok := said[e.hint]
		if !ok && !members[e.hint] {
			continue
		}
		if !ok {
			if s, err = p.bundledStatement(ctx, *e); err != nil || len(s.Envelopes) == 0 {
				continue // it stays where it is
			}
		}
		files = append(files, smallFile{statementPath(e.hint), s.Encode()})
		members[e.hint] = true
	}
	ref, err := p.uploadBundle(ctx, files)
	if err != nil {
		return nil, err
	}
	for i := range entries {
		if members[entries[i].hint] {
			entries[i].statements = ref
		}
	}
	return entries, nil
}

// members returns what the release will be made of: what is pushed, and what others pushed of it.
func (p *push) members(ctx context.Context, rel Release) (map[hint]bool, error) {
	if rel.Name == "" {
		return make(map[hint]bool), nil
	}
	before, err := p.Repo.Release(ctx, rel.Name)
	if err == nil {
		rel = mergeReleases(before, rel)
	} else if !errors.Is(err, store.ErrNotFound) {
		return nil, err
	}
	members := make(map[hint]bool, len(rel.Items))
	for _, it := range rel.Items {
		members[it.hint()] = true
	}
	return members, nil
}

// makeGeneration writes a generation, durably, and returns the pointer to it.
func (p *push) makeGeneration(ctx context.Context, sequence int64, g *generation) ([]byte, error) {
	b := g.encode()
	at := pointer{Schema: schema, Sequence: sequence, Generation: digest.FromBytes(b).Encoded(), Size: int64(len(b))}
	if err := p.put(ctx, smallFile{generationPath(at.Generation), b}); err != nil {
		return nil, err
	}
	if err := p.to.Flush(ctx); err != nil {
		return nil, err
	}
	return at.seal(p.Repo.opts.Key)
}

// updateRelease points the release's name at its items: they exist. What the release was made of before
// it had this lock is kept under its own name.
func (p *push) updateRelease(ctx context.Context, rel Release) error {
	rel.sequence = keptSequence(p.kept("release", rel.Name)) + 1
	return p.to.Update(ctx, releasePath(rel.Name), releaseLimit, func(old []byte) ([]byte, error) {
		if old == nil {
			return rel.seal(p.Repo.opts.Key)
		}
		before, err := p.openRelease(old, rel.Name)
		if err != nil {
			return nil, err
		}
		next := mergeReleases(before, rel)
		if next.same(before) && p.mine(before.signer) {
			return old, nil
		}
		next.sequence = before.sequence + 1
		if !bytes.Equal(next.Lock, before.Lock) {
			next.previous = digest.FromBytes(old).Encoded()
			if err := p.put(ctx, smallFile{historyPath(next.previous), old}); err != nil {
				return nil, err
			}
			if err := p.to.Flush(ctx); err != nil {
				return nil, err
			}
		}
		return next.seal(p.Repo.opts.Key)
	})
}
