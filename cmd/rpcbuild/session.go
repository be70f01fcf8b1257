package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"sync"

	"github.com/rcbops/rpcbuild/cache"
	"github.com/rcbops/rpcbuild/derive"
	"github.com/rcbops/rpcbuild/derive/download"
	"github.com/rcbops/rpcbuild/recipes"
	"github.com/rcbops/rpcbuild/recipes/apt"
	"github.com/rcbops/rpcbuild/recipes/python"
	"github.com/rcbops/rpcbuild/store"
	"github.com/rcbops/rpcbuild/store/signature"
)

// aptConfig is where this machine's apt has its sources.
const aptConfig = "/etc/apt"

// A session is what a verb works with: the store, the repos and the upstreams.
type session struct {
	*app
	store  *store.Store
	key    *signature.Key   // signs what is built and pushed; nil if there is none
	trust  *signature.Trust // whose statements count; nil for everybody's
	repos  []*cache.Repo    // to read
	client *download.Client
	// archive and index tell where upstreams are for this machine.
	archive func(apt.Mirror) (string, error)
	index   *python.Index
}

// open opens the store and the repos. The folder of the first repo is made if write is set and it
// is missing. close must be called.
func (a *app) open(write bool) (_ *session, err error) {
	s := &session{app: a, client: download.New(a.upstreams), archive: apt.Archives(aptConfig)}
	if a.timeout > 0 {
		s.client.Stall(a.timeout)
	}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	if s.key, s.trust, err = a.loadSigning(); err != nil {
		return nil, err
	}
	if s.store, err = store.Open(a.storeFolder); err != nil {
		return nil, fmt.Errorf("%w (--store names another folder)", err)
	}
	if s.index, err = python.NewIndex(s.client); err != nil {
		return nil, err
	}
	if write {
		if a.repoURLs, err = a.writable(); err != nil {
			return nil, err
		}
	}
	for i, url := range a.repoURLs {
		opts := s.cacheOptions()
		opts.Create = write && i == 0
		r, err := cache.Open(url, opts)
		if err != nil {
			return nil, usageError{err}
		}
		s.repos = append(s.repos, r)
	}
	return s, nil
}

// openToWrite is open for whoever changes the first repo, which must be there.
func (a *app) openToWrite() (_ *session, err error) {
	if a.repoURLs, err = a.writable(); err != nil {
		return nil, err
	}
	return a.open(false)
}

// openRelease loads the release that args or the environment name, and opens a session for it: see
// open. A release that cannot be read is told of before a store is made.
func (a *app) openRelease(args []string, write bool) (*recipes.Release, *session, error) {
	rel, err := a.load(args)
	if err != nil {
		return nil, nil, err
	}
	s, err := a.open(write)
	return rel, s, err
}

// cacheOptions are what is the same for every repo.
func (s *session) cacheOptions() cache.Options {
	return cache.Options{Key: s.key, Trust: s.trust, Dir: s.generationDir(), SSH: s.ssh}
}

// generationDir keeps what rpc-repos had when they were last asked.
func (s *session) generationDir() string { return filepath.Join(s.store.Dir(), "generation") }

// close lets go of everything and removes temporary files.
func (s *session) close() {
	for _, r := range s.repos {
		r.Close()
	}
	if s.store != nil {
		s.store.Close()
	}
}

// engine returns an engine that asks every repo. One that does not answer is told of and left out.
func (s *session) engine() *derive.Engine {
	e := s.strictEngine()
	for i, r := range s.repos {
		e.Substituters[i] = &tolerant{Repo: r, w: s.err}
	}
	return e
}

// strictEngine returns an engine for which a repo that does not answer is an error.
func (s *session) strictEngine() *derive.Engine {
	e := &derive.Engine{
		Store: s.store, Kinds: recipes.Kinds(), Client: s.client, Tool: derive.Tool("rpcbuild " + version()), Builder: s.name, Key: s.key,
	}
	for _, r := range s.repos {
		e.Substituters = append(e.Substituters, r)
	}
	return e
}

// upstreamsNow tells where the content that a lock pins is found.
func (s *session) upstreamsNow() recipes.Upstreams {
	return recipes.Upstreams{Archive: s.archive, PythonIndex: s.index}
}

// graph returns the graph of the release; only, if not empty, lists the stages that are wanted.
func (s *session) graph(r *recipes.Release, only ...string) (*derive.Graph, error) {
	return r.Graph(s.upstreamsNow(), only...)
}

// tolerant is a repo that, from when it did not answer on, has nothing.
type tolerant struct {
	*cache.Repo
	w io.Writer

	mu   sync.Mutex
	down bool
}

func (t *tolerant) Lookup(ctx context.Context, drvs []store.DrvID) (map[store.DrvID][]store.Statement, error) {
	if t.isDown() {
		return nil, nil
	}
	found, err := t.Repo.Lookup(ctx, drvs)
	if t.lost(err) {
		return nil, nil
	}
	return found, err
}

func (t *tolerant) Fetch(ctx context.Context, id store.ArtifactID, st *store.Store, progress func(int64)) (int64, error) {
	notFound := fmt.Errorf("artifact %s: %w", id.Short(), store.ErrNotFound)
	if t.isDown() {
		return 0, notFound
	}
	n, err := t.Repo.Fetch(ctx, id, st, progress)
	if t.lost(err) {
		return n, notFound
	}
	return n, err
}

func (t *tolerant) isDown() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.down
}

// lost reports whether err says that the repo does not answer, and tells the user the first time.
func (t *tolerant) lost(err error) bool {
	if !errors.Is(err, cache.ErrUnreachable) {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.down {
		t.down = true
		fmt.Fprintf(t.w, "rpcbuild: warning: going on without rpc-repo %s: %v\n", t.Repo, err)
	}
	return true
}
