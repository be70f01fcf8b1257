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

	"github.com/opencontainers/go-digest"

	"github.com/rcbops/rpcbuild/store"
)

// uploadManifests makes the artifacts' manifests and their derivations: their content is there.
func (p *push) uploadManifests(ctx context.Context) error {
	return p.each(ctx, func(ctx context.Context, it *pushItem) error {
		b, err := it.manifest.Encode()
		if err != nil {
			return err
		}
		if err := p.create(ctx, manifestPath(it.Artifact), b); err != nil || it.derivation == nil {
			return err
		}
		return p.create(ctx, derivationPath(it.Drv), it.derivation)
	})
}

// uploadStatements makes the statements: the artifacts that they name are there.
func (p *push) uploadStatements(ctx context.Context) error {
	return p.each(ctx, func(ctx context.Context, it *pushItem) error {
		return p.create(ctx, statementPath(it.hint()), it.statement.Encode())
	})
}

// create makes a small file. One that is there already says the same, or was said first.
func (p *push) create(ctx context.Context, path string, b []byte) error {
	err := p.to.Create(ctx, path, bytes.NewReader(b))
	if errors.Is(err, fs.ErrExist) {
		return nil
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
		if err := p.updateIndex(ctx, file, lines[file]); err != nil {
			return fmt.Errorf("index %s: %w", file, err)
		}
	}
	return nil
}

// updateIndex adds lines to one index. A consumer's file has no keys, so they are kept beside it in
// a file of ours, from which the consumer's is written. Both steps read what is newest: whichever of
// two pushers comes last writes the lines of both, and a step that a crash left out is made up for
// by the next push.
func (p *push) updateIndex(ctx context.Context, file string, lines []store.Line) error {
	err := p.to.Update(ctx, indexPath(file), indexLimit, func(old []byte) ([]byte, error) {
		index, err := p.index(ctx, file, old)
		if err != nil {
			return nil, err
		}
		for _, l := range lines {
			index[l.Key] = l.Line
		}
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
func (p *push) updateGeneration(ctx context.Context) error {
	return p.to.Update(ctx, currentPath, pointerLimit, func(old []byte) ([]byte, error) {
		known := &snapshot{}
		if old != nil {
			at, err := parsePointer(old)
			if err != nil {
				return nil, p.wrong(currentPath, err)
			}
			if known, err = p.load(ctx, at); err != nil {
				return nil, err
			}
		}
		var rows []row
		for _, it := range p.items {
			if known.rows.has(it.hint()) {
				continue // another push was faster
			}
			if !p.opts.Replace {
				if err := p.checkConflict(ctx, known, it); err != nil {
					return nil, err
				}
			}
			rows = append(rows, row{it.hint(), it.manifest.Size()})
		}
		if len(rows) == 0 {
			return old, nil
		}
		return p.makeGeneration(ctx, known.pointer.Sequence+1, known.rows.with(rows))
	})
}

// makeGeneration writes a generation, durably, and returns the pointer to it.
func (p *push) makeGeneration(ctx context.Context, sequence int64, rows generation) ([]byte, error) {
	b := rows.encode()
	at := pointer{Schema: schema, Sequence: sequence, Generation: digest.FromBytes(b).Encoded(), Size: int64(len(b))}
	if err := p.create(ctx, generationPath(at.Generation), b); err != nil {
		return nil, err
	}
	if err := p.to.Flush(ctx); err != nil {
		return nil, err
	}
	return store.CanonicalJSON(at)
}

// updateRelease points the release's name at its items: they exist.
func (p *push) updateRelease(ctx context.Context, rel Release) error {
	path := releasePath(rel.Name)
	return p.to.Update(ctx, path, releaseLimit, func(old []byte) ([]byte, error) {
		if old == nil {
			return rel.encode()
		}
		before, err := parseRelease(old)
		if err != nil {
			return nil, p.wrong(path, err)
		}
		return mergeReleases(before, rel).encode()
	})
}
