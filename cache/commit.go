package cache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"

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
		for _, b := range large(it.manifest) {
			if pieces, ok := p.cuts.Load(b); ok {
				files = append(files, smallFile{cutsPath(b), pieces.(content).encode()})
				p.pieces.learn(p.store, blobName+b.Digest.Encoded(), []store.Blob{b}, pieces.(content))
			}
		}
		if it.derivation != nil {
			files = append(files, smallFile{derivationPath(it.Drv), it.derivation})
		}
		for _, f := range files {
			if err := p.put(ctx, f); err != nil {
				return err
			}
		}
		p.pieces.learn(p.store, it.Artifact.String(), streamed(it.manifest), it.content)
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
