package derive

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rcbops/rpcbuild/store"
)

// obtain brings a known artifact into the store: a fetch from its upstream, anything else from a
// substituter. What no substituter can give is to be built: the result then names no artifact.
func (r *run) obtain(ctx context.Context, t task, st state) result {
	res := result{task: t, drv: st.drv}
	start := time.Now()
	n := t.node
	if n.fetch != nil {
		r.emit(Event{Type: Start, Node: n, Drv: st.drv, Total: n.fetch.blob.Size})
	}
	bytes, err := r.substitute(ctx, n, st)
	res.outcome = Reused
	if errors.Is(err, store.ErrNotFound) && ctx.Err() == nil {
		if n.fetch == nil {
			return res
		}
		bytes, res.outcome = n.fetch.blob.Size, Fetched
		err = r.fetch(ctx, n, st.drv)
	}
	seconds := time.Since(start).Seconds()
	if err != nil {
		res.err = fmt.Errorf("fetch %s: %w", n.Name, err)
		r.emit(Event{Type: Fail, Node: n, Drv: st.drv, Outcome: Failed, Seconds: seconds, Err: res.err})
		return res
	}
	res.artifact, res.here = st.artifact, true
	r.emit(Event{Type: Done, Node: n, Drv: st.drv, Artifact: st.artifact, Outcome: res.outcome, Seconds: seconds, Bytes: bytes})
	return res
}

// substitute brings over what the lookup found. It returns [store.ErrNotFound] if nobody has it.
func (r *run) substitute(ctx context.Context, n *Node, st state) (int64, error) {
	if st.remote == nil {
		return 0, fmt.Errorf("artifact %s: %w", st.artifact, store.ErrNotFound)
	}
	var total int64
	if n.fetch != nil {
		total = n.fetch.blob.Size
	}
	return st.remote.Fetch(ctx, st.artifact, r.Store, func(done int64) {
		r.emit(Event{Type: Progress, Node: n, Drv: st.drv, Done: done, Total: total})
	})
}

// fetch downloads from upstream what no substituter had.
func (r *run) fetch(ctx context.Context, n *Node, drv store.DrvID) error {
	if r.Offline {
		return fmt.Errorf("%w, and --offline forbids to fetch it", store.ErrNotFound)
	}
	unlock, err := r.Store.Lock(ctx, drv, func(h store.Holder) {
		r.emit(Event{Type: Wait, Node: n, Drv: drv, Holder: h})
	})
	if err != nil {
		return err
	}
	defer unlock()
	want := n.fetch.blob
	if !r.Store.HasBlob(want) {
		urls, err := n.fetch.locate(ctx)
		if err != nil {
			return err
		}
		partial := r.Store.PartialPath(want)
		err = r.Client.File(ctx, urls, partial, want, func(done int64) {
			r.emit(Event{Type: Progress, Node: n, Drv: drv, Done: done, Total: want.Size})
		})
		if err != nil {
			return err
		}
		if err := r.Store.AdoptBlob(partial, want); err != nil {
			return err
		}
	}
	_, err = r.Store.PutManifest(n.fetch.manifest)
	return err
}
