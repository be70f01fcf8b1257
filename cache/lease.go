package cache

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/rcbops/rpcbuild/store"
)

// Any number of pushes may be at work, or one gc: what a push found there must stay until it has named
// it. Each has a lease, in one file that is only changed with [Writer].Update, and renews it while it
// lives. The lease of one that died runs out. One that was asleep for longer than that (a laptop) finds
// out before it names anything, and begins again.

const (
	leasePath   = root + ".lease"
	leaseLimit  = 1 << 20
	leaseLength = 2 * time.Minute
	leaseRenew  = 20 * time.Second
	leaseWait   = time.Second // between looks at what others do
)

// The kinds of leases.
const (
	leasePush = "push"
	leaseGC   = "gc"
)

// A Lease is somebody at work in rpc-repo.
type Lease struct {
	ID    string    `json:"id"`
	Kind  string    `json:"kind"`
	Who   string    `json:"who"` // host and process
	Since time.Time `json:"since"`
	Until time.Time `json:"until"`
}

func (l Lease) String() string {
	return fmt.Sprintf("a %s by %s, since %s", l.Kind, l.Who, l.Since.Format(time.RFC3339))
}

// excludes reports whether two kinds of work cannot go on at the same time.
func excludes(a, b string) bool { return a == leaseGC || b == leaseGC }

// tenure is a [Lease] that this process holds.
type tenure struct {
	repo   *Repo
	to     Writer
	mine   Lease
	cancel context.CancelFunc
	done   chan struct{}

	mu      sync.Mutex
	renewed time.Time
}

// errAway says that others may have gone on without us.
var errAway = errors.New("this machine was away for too long")

// enter waits until nobody is at work whom kind excludes, and then keeps them out until leave is called.
// waiting, if not nil, is called once if it must wait.
func (r *Repo) enter(ctx context.Context, to Writer, kind string, waiting func(Lease)) (*tenure, error) {
	host, _ := os.Hostname()
	l := &tenure{repo: r, to: to, done: make(chan struct{}), mine: Lease{
		ID: rand.Text(), Kind: kind, Who: fmt.Sprintf("process %d on %s", os.Getpid(), host), Since: time.Now().UTC().Truncate(time.Second),
	}}
	for told := false; ; told = true {
		other, err := l.tryEnter(ctx)
		if err != nil {
			return nil, fmt.Errorf("enter rpc-repo %s: %w", r, err)
		}
		if other == nil {
			break
		}
		if !told && waiting != nil {
			waiting(*other)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(leaseWait):
		}
	}
	var renewing context.Context
	renewing, l.cancel = context.WithCancel(context.WithoutCancel(ctx))
	go l.renew(renewing)
	return l, nil
}

// tryEnter returns who keeps us out, or nil when we are in.
func (l *tenure) tryEnter(ctx context.Context) (other *Lease, err error) {
	err = l.update(ctx, func(all []Lease) []Lease {
		other = nil
		for _, o := range all {
			if excludes(o.Kind, l.mine.Kind) {
				other = &o
				return all
			}
		}
		return append(all, l.mine)
	})
	return other, err
}

// update changes the leases that have not run out.
func (l *tenure) update(ctx context.Context, change func([]Lease) []Lease) error {
	began := time.Now()
	err := l.to.Update(ctx, leasePath, leaseLimit, func(old []byte) ([]byte, error) {
		var all []Lease
		if len(old) > 0 && json.Unmarshal(old, &all) != nil {
			all = nil // whoever damaged it, the worst is that somebody begins again
		}
		began = time.Now()
		all = slices.DeleteFunc(all, func(o Lease) bool { return o.ID == l.mine.ID || o.Until.Before(began) })
		l.mine.Until = began.Add(leaseLength).UTC().Truncate(time.Second)
		return store.CanonicalJSON(change(all))
	})
	if err == nil {
		l.mu.Lock()
		l.renewed = began
		l.mu.Unlock()
	}
	return err
}

func (l *tenure) renew(ctx context.Context) {
	defer close(l.done)
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(leaseRenew):
		}
		// A failure is no matter until held finds it.
		l.update(ctx, func(all []Lease) []Lease { return append(all, l.mine) })
	}
}

// held returns an error if the lease may have run out.
func (l *tenure) held() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if time.Since(l.renewed) > leaseLength-leaseRenew {
		return errAway
	}
	return nil
}

// leave ends the lease.
func (l *tenure) leave(ctx context.Context) error {
	l.cancel()
	<-l.done
	return l.update(context.WithoutCancel(ctx), func(all []Lease) []Lease { return all })
}
