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
	switch {
	case n.fetch != nil:
		r.emit(Event{Type: Start, Node: n, Drv: st.drv, Outcome: Fetched, Total: n.fetch.blob.Size})
	case st.remote != nil:
		r.emit(Event{Type: Start, Node: n, Drv: st.drv, Outcome: Reused})
	}
	bytes, err := r.substitute(ctx, n, st)
	res.outcome = Reused
	if errors.Is(err, store.ErrNotFound) && ctx.Err() == nil {
		if n.fetch == nil {
			return res
		}
		if res.outcome, err = r.fetch(ctx, n, st.drv); res.outcome == Fetched {
			bytes = n.fetch.blob.Size
		}
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

// fetch downloads from upstream what no substituter had, unless another process does already: then
// the outcome is Reused.
func (r *run) fetch(ctx context.Context, n *Node, drv store.DrvID) (Outcome, error) {
	if r.Offline {
		return Failed, fmt.Errorf("%w, and --offline forbids to fetch it", store.ErrNotFound)
	}
	want := n.fetch.blob
	unlock, err := r.Store.LockBlob(ctx, want, func(h store.Holder) {
		r.emit(Event{Type: Wait, Node: n, Drv: drv, Holder: h})
	})
	if err != nil {
		return Failed, err
	}
	defer unlock()
	outcome := Reused
	if !r.Store.HasBlob(want) {
		outcome = Fetched
		err := r.download(ctx, n, func(done int64) {
			r.emit(Event{Type: Progress, Node: n, Drv: drv, Done: done, Total: want.Size})
		})
		if err != nil {
			return Failed, err
		}
	}
	_, err = r.Store.PutManifest(n.fetch.manifest)
	return outcome, err
}

func (r *run) download(ctx context.Context, n *Node, progress func(int64)) error {
	urls, err := n.fetch.locate(ctx)
	if err != nil {
		return err
	}
	partial := r.Store.PartialPath(n.fetch.blob)
	if err := r.Client.File(ctx, urls, partial, n.fetch.blob, progress); err != nil {
		return err
	}
	return r.Store.AdoptBlob(partial, n.fetch.blob)
}
