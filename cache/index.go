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

	"github.com/rcbops/rpcbuild/store"
)

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
			if p.repair {
				p.dropUnknown(ix, file)
			}
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
func (t *tenant) changeIndex(ctx context.Context, file string, change func(index)) error {
	err := t.to.Update(ctx, indexPath(file), indexLimit, func(old []byte) ([]byte, error) {
		index, err := t.index(ctx, file, old)
		if err != nil {
			return nil, err
		}
		change(index)
		return store.CanonicalJSON(index)
	})
	if err != nil {
		return err
	}
	return t.to.Update(ctx, file, indexLimit, func([]byte) ([]byte, error) {
		b, err := t.read(ctx, indexPath(file), indexLimit)
		if err != nil {
			return nil, err
		}
		index, err := parseIndex(b)
		if err != nil {
			return nil, t.wrong(indexPath(file), err)
		}
		return index.encode(), nil
	})
}

// index returns the lines of an index. Where only the consumer's file is there, its lines are kept:
// each is its own key.
func (t *tenant) index(ctx context.Context, file string, b []byte) (index, error) {
	if b != nil {
		ix, err := parseIndex(b)
		if err == nil {
			return ix, nil
		}
		if !t.repair {
			return nil, t.wrong(indexPath(file), err)
		}
	}
	ix := make(index)
	b, err := t.read(ctx, file, indexLimit)
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
