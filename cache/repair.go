package cache

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"strings"

	"github.com/rcbops/rpcbuild/store"
)

// Items returns all that is on the list, in order, with the names and kinds that releases give it now; what
// no release names has its derivation for a name, and no kind. A release that cannot be read is an error beside the items.
func (r *Repo) Items(ctx context.Context) ([]Item, error) {
	known, err := r.newest(ctx)
	if err != nil {
		return nil, err
	}
	names := make(map[hint]Item)
	err = r.eachRelease(ctx, func(rel Release) {
		for _, it := range rel.Items {
			names[it.hint()] = it
		}
	})
	items := make([]Item, 0, len(known.rows))
	for _, row := range known.rows {
		it, ok := names[row.hint]
		if !ok {
			it = Item{Name: row.drv.Short(), Drv: row.drv, Artifact: row.artifact}
		}
		items = append(items, it)
	}
	return items, err
}

// eachRelease calls fn with every release. One that cannot be read keeps no other from being read.
func (r *Repo) eachRelease(ctx context.Context, fn func(Release)) error {
	w, ok := r.backend.(Writer)
	if !ok {
		return nil // a web server does not list
	}
	var errs []error
	err := w.List(ctx, root+"release", func(f FileInfo) error {
		rel, err := r.Release(ctx, path.Base(f.Path))
		if err != nil {
			errs = append(errs, err)
		} else {
			fn(rel)
		}
		return nil
	})
	return errors.Join(append(errs, err)...)
}

// Repair reads every byte of what is on the list, and puts back from st what is missing or wrong. It returns
// a verdict of each item; what is present for a reason was put back. A list that cannot be read is made anew
// of the statements that are there.
func (r *Repo) Repair(ctx context.Context, st *store.Store, opts PushOptions) ([]Verdict, error) {
	w, ok := r.backend.(Writer)
	if !ok {
		return nil, fmt.Errorf("repair rpc-repo %s: it can only be read", r)
	}
	p := &push{tenant: tenant{Repo: r, to: w, repair: true}, store: st, opts: opts, slots: newChunkSlots(2 * r.opts.Jobs)}
	verdicts, err := p.repairAll(ctx)
	if err != nil {
		return verdicts, fmt.Errorf("repair rpc-repo %s: %w", r, err)
	}
	return verdicts, nil
}

func (p *push) repairAll(ctx context.Context) (_ []Verdict, err error) {
	if p.lease, err = p.enter(ctx, p.to, leasePush, p.opts.Waiting); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.lease.leave(ctx)) }()
	if err := p.relist(ctx); err != nil {
		return nil, err
	}
	bad, err := p.dropReleases(ctx)
	if err != nil {
		return nil, err
	}
	known := p.held()
	items, err := p.Items(ctx)
	if err != nil {
		return bad, err
	}
	checked, err := p.Check(ctx, items, true)
	if err != nil {
		return bad, err
	}
	if err := p.knowLines(ctx, items); err != nil {
		return bad, err
	}
	for i := range checked {
		v := &checked[i]
		if v.State == Present {
			continue
		}
		if err := p.repairItem(ctx, v.Item); err == nil {
			v.State, v.Reason = Present, "repaired: "+v.Reason
		} else if !errors.Is(err, store.ErrNotFound) {
			return bad, err
		}
	}
	all := append(bad, checked...)
	if err := p.dropBundles(ctx, known); err != nil {
		return all, err
	}
	return all, p.to.Flush(ctx)
}

// dropBundles removes bundles of the list as it was that are wrong: to who has that list, one that is not
// there is a request more, and one that is wrong is an error.
func (p *push) dropBundles(ctx context.Context, known *snapshot) error {
	fresh := newRepo(p.backend, p.Repo.opts)
	fresh.opts.Dir = "" // what is there counts
	for _, ref := range known.bundles {
		_, err := fresh.bundle(ctx, ref, false)
		var wrong *WrongError
		switch {
		case errors.As(err, &wrong):
			err = p.to.Remove(ctx, bundlePath(ref))
		case errors.Is(err, fs.ErrNotExist):
			err = nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// dropReleases removes releases that cannot be read, or that nobody signed who is trusted: a push makes them
// again. Their artifacts stay on the list until a gc.
func (p *push) dropReleases(ctx context.Context) (bad []Verdict, err error) {
	err = p.to.List(ctx, root+"release", func(f FileInfo) error {
		name := path.Base(f.Path)
		_, err := p.Repo.Release(ctx, name)
		var wrong *WrongError
		if err == nil || !errors.As(err, &wrong) {
			return err
		}
		bad = append(bad, Verdict{Item{Name: "release " + name}, Missing, fmt.Sprintf("removed; push it again: %v", wrong.Err)})
		return p.to.Remove(ctx, f.Path)
	})
	return bad, err
}

// A lineName is where an artifact's line belongs.
type lineName struct{ file, key string }

// knowLines finds out which lines shared indexes have of artifacts on the list.
func (p *push) knowLines(ctx context.Context, items []Item) error {
	p.lines = make(map[lineName]bool)
	for _, it := range items {
		m, err := p.store.Manifest(it.Artifact)
		if err != nil {
			m, err = p.manifest(ctx, it.Artifact)
		}
		var wrong *WrongError
		switch {
		case err == nil:
			for _, l := range m.Lines {
				p.lines[lineName{l.File, l.Key}] = true
			}
		case !errors.Is(err, store.ErrNotFound) && !errors.As(err, &wrong):
			return err
		}
	}
	return nil
}

// dropUnknown drops lines of nobody: a key that was damaged. What was there before rpc-repo is its own key.
func (p *push) dropUnknown(ix index, file string) {
	maps.DeleteFunc(ix, func(key, line string) bool { return key != line && !p.lines[lineName{file, key}] })
}

// repairItem puts back one item, all of it.
func (p *push) repairItem(ctx context.Context, it Item) error {
	if has, err := p.store.Has(it.Artifact); err != nil || !has {
		return errors.Join(err, store.ErrNotFound)
	}
	p.items = []*pushItem{{Item: it}}
	steps := []func(context.Context) error{p.describe, p.uploadContent, p.to.Flush, p.uploadManifests, p.to.Flush, p.uploadStatements}
	if it.Kind != "" { // else what a release is made of now may have its place in the consumers' tree
		steps = append(steps, p.publishNames, p.updateIndexes)
	}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return p.updateGeneration(ctx, Release{})
}

// relist makes a list where there is none that can be read, of the statements that are there. Its number is
// the next one of those that this machine knows of.
func (p *push) relist(ctx context.Context) error {
	_, err := p.newest(ctx)
	var wrong *WrongError
	if err == nil || !errors.As(err, &wrong) {
		return err
	}
	var entries []entry
	err = p.to.List(ctx, root+"realisation", func(f FileInfo) error {
		drv, artifact, _ := strings.Cut(strings.TrimPrefix(f.Path, root+"realisation/"), "/")
		var h hint
		var errs [2]error
		h.drv, errs[0] = store.ParseDrvID(drv)
		h.artifact, errs[1] = store.ParseArtifactID(artifact)
		if errors.Join(errs[:]...) != nil {
			return nil // not ours
		}
		s, err := p.statement(ctx, entry{hint: h})
		if err == nil {
			entries = append(entries, entry{hint: h, size: s.Size})
		}
		return nil // one that is damaged is put back by the next push
	})
	if err != nil {
		return err
	}
	sequence := p.keptSnapshot().pointer.Sequence + 1
	if b, err := p.read(ctx, currentPath, pointerLimit); err == nil {
		if at, err := openPointer(b, p.Repo.opts.Trust); err == nil {
			sequence = max(sequence, at.Sequence+1)
		}
	} else if !errors.Is(err, fs.ErrNotExist) && !errors.As(err, &wrong) {
		return err
	}
	return p.to.Update(ctx, currentPath, pointerLimit, func([]byte) ([]byte, error) {
		return p.makeGeneration(ctx, sequence, newGeneration(entries).encode())
	})
}
