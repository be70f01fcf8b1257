package cache

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/rcbops/rpcbuild/store"
)

// A snapshot is rpc-repo's newest generation at one time. It is never changed.
type snapshot struct {
	*generation
	pointer pointer // zero: nothing was ever pushed
	tag     string  // the pointer's, of the backend

	index      sync.Once
	byArtifact map[store.ArtifactID]int // a row of each artifact
}

// metadata returns the bundle that holds what there is to say of an artifact.
func (s *snapshot) metadata(id store.ArtifactID) (bundleRef, bool) {
	s.index.Do(func() {
		s.byArtifact = make(map[store.ArtifactID]int, len(s.rows))
		for i, r := range s.rows {
			if r.metadata != noBundle {
				s.byArtifact[r.artifact] = i
			}
		}
	})
	i, ok := s.byArtifact[id]
	if !ok {
		return bundleRef{}, false
	}
	return s.bundles[s.rows[i].metadata], true
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
		return emptySnapshot()
	}
	return r.generations.held
}

func emptySnapshot() *snapshot { return &snapshot{generation: &generation{}} }

// readNewest asks whether there is a newer generation than held, or than the one that is kept in the
// folder of what is known. What is older than that is refused: somebody plays an old pointer again.
func (r *Repo) readNewest(ctx context.Context, held *snapshot) (*snapshot, error) {
	if held == nil {
		held = r.keptSnapshot()
	}
	body, tag, err := r.backend.GetChanged(ctx, currentPath, held.tag)
	switch {
	case errors.Is(err, ErrNotChanged):
		return held, nil
	case errors.Is(err, fs.ErrNotExist) && held.pointer.Sequence == 0:
		return emptySnapshot(), nil
	case errors.Is(err, fs.ErrNotExist):
		return nil, r.wrong(currentPath, fmt.Errorf("it is missing, and was there before (%s)", r.forgetHint()))
	case err != nil:
		return nil, err
	}
	text, err := r.readAll(body, currentPath, pointerLimit)
	if err != nil {
		return nil, err
	}
	p, err := r.pointer(text, held)
	if err != nil {
		return nil, err
	}
	s := &snapshot{generation: held.generation, pointer: p, tag: tag}
	if p.Generation != held.pointer.Generation {
		if s, err = r.load(ctx, p); err != nil {
			return nil, err
		}
		s.tag = tag
	}
	r.keepSnapshot(s, text)
	return s, nil
}

// pointer reads a pointer that must not be older than what is held.
func (r *Repo) pointer(text []byte, held *snapshot) (pointer, error) {
	p, err := openPointer(text, r.opts.Trust)
	switch before := held.pointer; {
	case err != nil:
		return p, r.wrong(currentPath, err)
	case p.Sequence < before.Sequence:
		return p, r.wrong(currentPath, fmt.Errorf("it is generation %d, and was %d before: an old one is played again (%s)", p.Sequence, before.Sequence, r.forgetHint()))
	case p.Sequence == before.Sequence && before.Generation != "" && p.Generation != before.Generation:
		return p, r.wrong(currentPath, fmt.Errorf("it is another generation %d than before (%s)", p.Sequence, r.forgetHint()))
	}
	return p, nil
}

func (r *Repo) forgetHint() string {
	if dir := r.kept(); dir != "" {
		return "if rpc-repo was restored from a copy, remove " + dir
	}
	return "if rpc-repo was restored from a copy, start again"
}

// load returns the generation that p names.
func (r *Repo) load(ctx context.Context, p pointer) (*snapshot, error) {
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
	g, err := parseGeneration(b)
	if err != nil {
		return nil, r.wrong(path, err)
	}
	return &snapshot{generation: g, pointer: p}, nil
}
