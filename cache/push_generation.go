package cache

import (
	"bytes"
	"context"
	"errors"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/rcbops/rpcbuild/store"
)

// updateGeneration makes the generation that holds the items, too, and then points at it. This is
// when they exist.
func (p *push) updateGeneration(ctx context.Context, rel Release) error {
	return p.changeGeneration(ctx, func(known *snapshot) ([]byte, error) {
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
		text := newGeneration(entries).encode()
		if digest.FromBytes(text).Encoded() == known.pointer.Generation && p.mine(known.pointer.signer) {
			return nil, nil // another push was faster
		}
		return text, nil
	})
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

// updateRelease points the release's name at its items: they exist. What the release was made of before
// it had this lock is kept under its own name. Its page comes first: one that was not made would never be,
// because a push of what is there does nothing.
func (p *push) updateRelease(ctx context.Context, rel Release) error {
	rel.sequence = keptSequence(p.kept("release", rel.Name)) + 1
	return p.to.Update(ctx, releasePath(rel.Name), releaseLimit, func(old []byte) ([]byte, error) {
		if old == nil {
			return p.release(ctx, rel)
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
		return p.release(ctx, next)
	})
}

// release makes the page of a release, and returns the text of its file.
func (p *push) release(ctx context.Context, rel Release) ([]byte, error) {
	if err := p.writeReleasePage(ctx, rel); err != nil {
		return nil, err
	}
	return rel.seal(p.Repo.opts.Key)
}
