package cache

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"golang.org/x/sync/errgroup"

	"github.com/rcbops/rpcbuild/store"
)

// Lookup returns, for each derivation, the statements that rpc-repo has of it, as far as they are
// trusted: one that is not is an error that wraps a [*signature.UntrustedError]. What the generation
// read last does not know is looked for in the newest: a miss is never remembered. Statements of one
// push come in one request.
func (r *Repo) Lookup(ctx context.Context, drvs []store.DrvID) (map[store.DrvID][]store.Statement, error) {
	known := r.held()
	for _, drv := range drvs {
		if len(known.of(drv)) == 0 {
			var err error
			if known, err = r.newest(ctx); err != nil {
				return nil, err
			}
			break
		}
	}
	lists := make([][]store.Statement, len(drvs))
	g, ctx := errgroup.WithContext(ctx)
	for i, drv := range drvs {
		if rows := known.of(drv); len(rows) > 0 {
			g.Go(func() (err error) {
				lists[i], err = r.statementsOf(ctx, known, rows)
				return err
			})
		}
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	found := make(map[store.DrvID][]store.Statement)
	for i, drv := range drvs {
		if len(lists[i]) > 0 {
			found[drv] = lists[i]
		}
	}
	return found, nil
}

// statementsOf reads the statements that rows promise. One that is not there is no error: a list is
// a hint.
func (r *Repo) statementsOf(ctx context.Context, known *snapshot, rows []row) ([]store.Statement, error) {
	var list []store.Statement
	for _, row := range rows {
		s, err := r.statement(ctx, known.entry(row))
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		list = append(list, s)
	}
	return list, nil
}

// statement returns the trusted statement that e speaks of, or [store.ErrNotFound].
func (r *Repo) statement(ctx context.Context, e entry) (store.Statement, error) {
	r.mu.Lock()
	s, ok := r.statements[e.hint]
	r.mu.Unlock()
	if ok {
		return s, nil
	}
	s, err := r.bundledStatement(ctx, e)
	if err != nil {
		return s, err
	}
	trusted, err := s.Trusted(r.opts.Trust)
	if len(s.Envelopes) == 0 || err != nil { // since the bundle was made, others may have signed, too
		if s, err = r.ownStatement(ctx, e.hint); err != nil {
			return s, err
		}
		if trusted, err = s.Trusted(r.opts.Trust); err != nil {
			return s, r.wrong(statementPath(e.hint), err)
		}
	}
	r.mu.Lock()
	r.statements[e.hint] = trusted
	r.mu.Unlock()
	return trusted, nil
}

// bundledStatement returns the statement in e's bundle, or one without envelopes if that does not have
// it.
func (r *Repo) bundledStatement(ctx context.Context, e entry) (store.Statement, error) {
	if e.statements == (bundleRef{}) {
		return store.Statement{}, nil
	}
	b, err := r.bundle(ctx, e.statements, false)
	if errors.Is(err, fs.ErrNotExist) {
		return store.Statement{}, nil
	}
	if err != nil {
		return store.Statement{}, err
	}
	content, ok := b[statementPath(e.hint)]
	if !ok {
		return store.Statement{}, nil
	}
	s, err := parseStatement(content, e.hint)
	if err != nil {
		return s, r.wrong(bundlePath(e.statements), err)
	}
	return s, nil
}

// ownStatement reads the statement's own file, which has all there is.
func (r *Repo) ownStatement(ctx context.Context, h hint) (s store.Statement, err error) {
	path := statementPath(h)
	err = r.transfer(ctx, func() error {
		b, err := r.read(ctx, path, store.StatementLimit)
		if err != nil {
			return r.missing("statement of derivation "+h.drv.String(), err)
		}
		if s, err = parseStatement(b, h); err != nil {
			return r.wrong(path, err)
		}
		return nil
	})
	return s, err
}

// parseStatement reads a statement and refuses one about something else.
func parseStatement(b []byte, about hint) (store.Statement, error) {
	s, err := store.ParseStatement(b)
	if err == nil && (hint{s.Drv, s.Artifact}) != about {
		err = fmt.Errorf("parse statement: it says that derivation %s gave %s", s.Drv, s.Artifact)
	}
	return s, err
}

// derivation returns the canonical encoding of the derivation that gave an artifact, or nil if rpc-repo
// does not have it.
func (r *Repo) derivation(ctx context.Context, h hint) ([]byte, error) {
	path := derivationPath(h.drv)
	b, err := r.small(ctx, path, derivationLimit, h.artifact)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if got := store.HashDrv(b); got != h.drv {
		return nil, r.wrong(path, fmt.Errorf("its SHA-256 is %s", got))
	}
	return b, nil
}
