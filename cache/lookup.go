package cache

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"golang.org/x/sync/errgroup"

	"github.com/rcbops/rpcbuild/store"
)

// Lookup returns, for each derivation, the statements that rpc-repo has of it. What the generation
// read last does not know is looked for in the newest: a miss is never remembered.
func (r *Repo) Lookup(ctx context.Context, drvs []store.DrvID) (map[store.DrvID][]store.Statement, error) {
	known := r.held()
	for _, drv := range drvs {
		if len(known.rows.of(drv)) == 0 {
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
		rows := known.rows.of(drv)
		if len(rows) == 0 {
			continue
		}
		g.Go(func() (err error) {
			lists[i], err = r.statementsOf(ctx, rows)
			return err
		})
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
func (r *Repo) statementsOf(ctx context.Context, rows []row) ([]store.Statement, error) {
	var list []store.Statement
	for _, row := range rows {
		s, err := r.statement(ctx, row.hint)
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

// statement returns the statement that h.drv gave h.artifact, or [store.ErrNotFound].
func (r *Repo) statement(ctx context.Context, h hint) (store.Statement, error) {
	r.mu.Lock()
	s, ok := r.statements[h]
	r.mu.Unlock()
	if ok {
		return s, nil
	}
	path := statementPath(h)
	err := r.transfer(ctx, func() error {
		b, err := r.read(ctx, path, statementLimit)
		if err != nil {
			return r.missing("statement of derivation "+h.drv.String(), err)
		}
		if s, err = parseStatement(b, h); err != nil {
			return r.wrong(path, err)
		}
		return nil
	})
	if err != nil {
		return s, err
	}
	r.mu.Lock()
	r.statements[h] = s
	r.mu.Unlock()
	return s, nil
}

// parseStatement reads a statement and refuses one about something else.
func parseStatement(b []byte, about hint) (store.Statement, error) {
	s, err := store.ParseStatement(b)
	if err == nil && (hint{s.Drv, s.Artifact}) != about {
		err = fmt.Errorf("parse statement: it says that derivation %s gave %s", s.Drv, s.Artifact)
	}
	return s, err
}

// derivation returns the canonical encoding of a derivation, or nil if rpc-repo does not have it.
func (r *Repo) derivation(ctx context.Context, drv store.DrvID) ([]byte, error) {
	path := derivationPath(drv)
	b, err := r.read(ctx, path, derivationLimit)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if got := store.HashDrv(b); got != drv {
		return nil, r.wrong(path, fmt.Errorf("its SHA-256 is %s", got))
	}
	return b, nil
}
