package cache

import (
	"bytes"
	"context"
	"errors"
	"io/fs"

	"github.com/opencontainers/go-digest"
)

// A tenant changes rpc-repo: a push, a repair, or a gc. What is there when it enters stays until it leaves.
type tenant struct {
	*Repo
	to     Writer  // the repo's backend
	lease  *tenure // nil for one that only looks
	repair bool    // what is there is not trusted
}

// stat returns the size of a file, or, in a repair, that it is not there.
func (t *tenant) stat(ctx context.Context, path string) (int64, error) {
	if t.repair {
		return 0, fs.ErrNotExist
	}
	return t.to.Stat(ctx, path)
}

// put makes a small file whose name decides its content, if it is not there.
func (t *tenant) put(ctx context.Context, f smallFile) error {
	size, err := t.stat(ctx, f.path)
	if err == nil && size == int64(len(f.content)) {
		return nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return t.to.Put(ctx, f.path, bytes.NewReader(f.content))
}

// current reads what is the newest generation now; text is that of its pointer, nil if there is none.
func (t *tenant) current(ctx context.Context, text []byte) (*snapshot, error) {
	if text == nil {
		return emptySnapshot(), nil
	}
	held := t.held()
	at, err := t.pointer(text, held)
	if err != nil {
		return nil, err
	}
	if at.Generation == held.pointer.Generation { // under a higher number, it may be
		return &snapshot{generation: held.generation, pointer: at}, nil
	}
	return t.load(ctx, at)
}

// changeGeneration makes the list that change returns the newest generation; nil changes nothing. change is
// given what is the newest now, and may be called again.
func (t *tenant) changeGeneration(ctx context.Context, change func(known *snapshot) (list []byte, err error)) error {
	if err := t.lease.hold(ctx); err != nil {
		return err
	}
	return t.to.Update(ctx, currentPath, pointerLimit, func(old []byte) ([]byte, error) {
		if err := t.lease.held(); err != nil {
			return nil, err
		}
		known, err := t.current(ctx, old)
		if err != nil {
			return nil, err
		}
		list, err := change(known)
		if err != nil || list == nil {
			return old, err
		}
		return t.makeGeneration(ctx, known.pointer.Sequence+1, list)
	})
}

// makeGeneration writes a generation, whose text is b, durably, and returns the pointer to it.
func (t *tenant) makeGeneration(ctx context.Context, sequence int64, b []byte) ([]byte, error) {
	at := pointer{Schema: schema, Sequence: sequence, Generation: digest.FromBytes(b).Encoded(), Size: int64(len(b))}
	if err := t.put(ctx, smallFile{generationPath(at.Generation), b}); err != nil {
		return nil, err
	}
	if err := t.to.Flush(ctx); err != nil {
		return nil, err
	}
	return at.seal(t.Repo.opts.Key)
}
