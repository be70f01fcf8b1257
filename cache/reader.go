package cache

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/opencontainers/go-digest"
)

// A snapshot is rpc-repo's newest generation at one time. It is never changed.
type snapshot struct {
	pointer pointer // zero: nothing was ever pushed
	rows    generation
}

// reader reads the newest generation, at most once at a time.
type reader struct {
	mu              sync.Mutex
	held            *snapshot
	err             error
	started, served int // reads: how many began, and the number of the last one that ended

	reading sync.Mutex
}

// newest returns the generation that is the newest after newest was called: one request, and one
// more if it is not the one held. Callers that wait for each other share an answer.
func (r *Repo) newest(ctx context.Context) (*snapshot, error) {
	g := &r.generations
	g.mu.Lock()
	before := g.started
	g.mu.Unlock()

	g.reading.Lock()
	defer g.reading.Unlock()
	g.mu.Lock()
	if g.served > before { // a read that began after our call has ended
		defer g.mu.Unlock()
		return g.held, g.err
	}
	g.started++
	number, held := g.started, g.held
	g.mu.Unlock()

	s, err := r.readNewest(ctx, held)
	if err != nil && ctx.Err() != nil {
		return nil, err // our caller's end is nobody else's
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.served, g.err = number, err
	if err == nil {
		g.held = s
	}
	return s, err
}

// held returns the generation that was read last, or an empty one.
func (r *Repo) held() *snapshot {
	r.generations.mu.Lock()
	defer r.generations.mu.Unlock()
	if r.generations.held == nil {
		return &snapshot{}
	}
	return r.generations.held
}

func (r *Repo) readNewest(ctx context.Context, held *snapshot) (*snapshot, error) {
	b, err := r.read(ctx, currentPath, pointerLimit)
	if errors.Is(err, fs.ErrNotExist) {
		return &snapshot{}, nil
	}
	if err != nil {
		return nil, err
	}
	p, err := parsePointer(b)
	if err != nil {
		return nil, r.wrong(currentPath, err)
	}
	if held != nil && held.pointer.Generation == p.Generation {
		return &snapshot{p, held.rows}, nil
	}
	return r.load(ctx, p)
}

// load returns the generation that p names.
func (r *Repo) load(ctx context.Context, p pointer) (*snapshot, error) {
	b, err := r.generation(ctx, p)
	if err != nil {
		return nil, err
	}
	rows, err := parseGeneration(b)
	if err != nil {
		return nil, r.wrong(generationPath(p.Generation), err)
	}
	return &snapshot{p, rows}, nil
}

// generation returns the verified text of a generation, from the folder of the last one if it is
// that.
func (r *Repo) generation(ctx context.Context, p pointer) ([]byte, error) {
	kept := r.keptGeneration()
	if kept != "" {
		if b, err := os.ReadFile(kept); err == nil && digest.FromBytes(b).Encoded() == p.Generation {
			return b, nil
		}
	}
	path := generationPath(p.Generation)
	b, err := r.read(ctx, path, p.Size)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, r.wrong(currentPath, fmt.Errorf("it names a generation that is not there: %w", err))
	}
	if err != nil {
		return nil, err
	}
	if got := digest.FromBytes(b).Encoded(); got != p.Generation {
		return nil, r.wrong(path, fmt.Errorf("its SHA-256 is %s", got))
	}
	if kept != "" {
		keep(kept, b)
	}
	return b, nil
}

// keptGeneration returns the name of this repo's generation in the folder of [Options].Dir.
func (r *Repo) keptGeneration() string {
	if r.opts.Dir == "" {
		return ""
	}
	return filepath.Join(r.opts.Dir, digest.FromString(r.String()).Encoded())
}

// keep writes a copy that only saves time: an error costs a request next time, and a torn file is
// found out by its digest.
func keep(name string, b []byte) {
	if os.MkdirAll(filepath.Dir(name), 0o755) != nil {
		return
	}
	f, err := os.CreateTemp(filepath.Dir(name), ".new")
	if err != nil {
		return
	}
	_, err = f.Write(b)
	if errors.Join(err, f.Close()) == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		os.Remove(f.Name())
	}
}
