package main

import (
	"context"
	"fmt"

	"github.com/rcbops/rpcbuild/cache"
	"github.com/rcbops/rpcbuild/derive"
	"github.com/rcbops/rpcbuild/store"
)

// judge asks the store for what it has, and the repos for all of it.
func (o *verifyOptions) judge(ctx context.Context, s *session, g *derive.Graph) ([]jsonVerdict, error) {
	steps, err := s.strictEngine().Plan(ctx, g)
	if err != nil {
		return nil, err
	}
	var verdicts []jsonVerdict
	for _, st := range steps {
		if st.Node.Kind != derive.FetchKind {
			verdicts = append(verdicts, verdictOf(st))
		}
	}
	lost, whole := make(lostItems), make(map[store.DrvID]bool)
	for _, r := range s.repos {
		if err := o.ask(ctx, r, verdicts, lost, whole); err != nil {
			return nil, err
		}
	}
	return verdicts, s.judgeLost(verdicts, lost, whole)
}

// verdictOf turns what realize would do into what verify says.
func verdictOf(s derive.Step) jsonVerdict {
	v := jsonVerdict{Name: s.Node.Name, Kind: s.Node.Kind, Drv: s.Drv, Artifact: s.Artifact, State: cache.Present}
	switch {
	case len(s.Others) > 1:
		v.State, v.Reason = cache.Wrong, fmt.Sprintf("its derivation gave different artifacts: %s and %s", s.Others[0].Short(), s.Others[1].Short())
	case s.Action == derive.BuildIt:
		v.State, v.Reason = cache.Missing, s.Because
	}
	return v
}

// lostItems are what a repo lists and does not hold, with the reason.
type lostItems map[store.DrvID]string

// ask adds what a repo has wrong, and tells what it has lost and what it has whole. What it does not
// list does not count: another one, or the store, has it.
func (o *verifyOptions) ask(ctx context.Context, r *cache.Repo, verdicts []jsonVerdict, lost lostItems, whole map[store.DrvID]bool) error {
	var items []cache.Item
	var of []int // the verdict of each item
	for i, v := range verdicts {
		if v.State == cache.Present {
			items = append(items, cache.Item{Name: v.Name, Kind: v.Kind, Drv: v.Drv, Artifact: v.Artifact})
			of = append(of, i)
		}
	}
	listed, err := r.Check(ctx, items, false)
	if err != nil {
		return err
	}
	checked := listed
	if o.deep {
		if checked, err = r.Check(ctx, items, true); err != nil {
			return err
		}
	}
	for i, c := range checked {
		v := &verdicts[of[i]]
		switch {
		case c.State == cache.Wrong:
			v.State, v.Reason = cache.Wrong, c.Reason
		case c.State == cache.Present:
			whole[v.Drv] = true
		case listed[i].State == cache.Present:
			lost[v.Drv] = fmt.Sprintf("rpc-repo %s lists it, and has lost it: %s", r, c.Reason)
		}
	}
	return nil
}

// judgeLost says that what a repo has lost is missing, or, if something else still has it, wrong in
// that repo: a consumer of what it publishes gets less than it promises.
func (s *session) judgeLost(verdicts []jsonVerdict, lost lostItems, whole map[store.DrvID]bool) error {
	for i := range verdicts {
		v := &verdicts[i]
		reason, ok := lost[v.Drv]
		if !ok || v.State != cache.Present {
			continue
		}
		has, err := s.store.Has(v.Artifact)
		if err != nil {
			return err
		}
		v.State, v.Reason = cache.Missing, reason
		if has || whole[v.Drv] {
			v.State = cache.Wrong
		}
	}
	return nil
}
