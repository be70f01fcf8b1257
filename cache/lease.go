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
// lives. Who waits for one that died on the same machine sees that at once; for one of another machine, that
// nobody has renewed the lease for as long as it is good for, by the waiting one's own clock: clocks of
// different machines are never compared. One that was asleep for longer than that (a laptop) finds out before
// it names anything, and begins again.

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
	ID      string    `json:"id"`
	Kind    string    `json:"kind"`
	Who     string    `json:"who"`     // for people: host and process
	Process string    `json:"process"` // see processName
	Since   time.Time `json:"since"`   // for people
	Renewed int       `json:"renewed"` // how often
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

	entered bool
	seen    map[string]sighting // of others, by their leases' ids; of the goroutine that enters

	renewing sync.Mutex
	mu       sync.Mutex
	renewed  time.Time
}

// sighting is since when a lease is seen not to be renewed.
type sighting struct {
	renewed int
	since   time.Time
}

// errAway says that others may have gone on without us.
var errAway = errors.New("this machine was away for too long")

// enter waits until nobody is at work whom kind excludes, and then keeps them out until leave is called.
// waiting, if not nil, is called once if it must wait.
func (r *Repo) enter(ctx context.Context, to Writer, kind string, waiting func(Lease)) (*tenure, error) {
	host, _ := os.Hostname()
	l := &tenure{repo: r, to: to, done: make(chan struct{}), seen: make(map[string]sighting), mine: Lease{
		ID: rand.Text(), Kind: kind, Who: fmt.Sprintf("process %d on %s", os.Getpid(), host), Process: processName(os.Getpid()), Since: time.Now().UTC().Truncate(time.Second),
	}}
	for told := false; ; told = true {
		other, err := l.tryEnter(ctx)
		if err != nil {
			return nil, fmt.Errorf("enter rpc-repo %s: %w", r, err)
		}
		if other == nil {
			l.entered = true
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
		all = slices.DeleteFunc(all, func(o Lease) bool { return excludes(o.Kind, l.mine.Kind) && l.dead(o) })
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

// dead reports whether whoever has the lease is dead or lost.
func (l *tenure) dead(o Lease) bool {
	s, ok := l.seen[o.ID]
	if !ok || s.renewed != o.Renewed {
		s = sighting{o.Renewed, time.Now()}
		l.seen[o.ID] = s
	}
	return processGone(o.Process) || time.Since(s.since) > leaseLength
}

// update changes the leases: change is given those of the others.
func (l *tenure) update(ctx context.Context, change func([]Lease) []Lease) error {
	began := time.Now()
	err := l.to.Update(ctx, leasePath, leaseLimit, func(old []byte) ([]byte, error) {
		var all []Lease
		if len(old) > 0 && json.Unmarshal(old, &all) != nil {
			all = nil // whoever damaged it, the worst is that somebody begins again
		}
		began = time.Now()
		held := len(all)
		all = slices.DeleteFunc(all, func(o Lease) bool { return o.ID == l.mine.ID })
		if l.entered && len(all) == held {
			return nil, errAway // somebody took us for dead
		}
		l.mine.Renewed++
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
		l.hold(ctx) // a failure is no matter until somebody wants to know
	}
}

// hold renews the lease. The error wraps errAway if others may have gone on without us.
func (l *tenure) hold(ctx context.Context) error {
	l.renewing.Lock()
	defer l.renewing.Unlock()
	return l.update(ctx, func(all []Lease) []Lease { return append(all, l.mine) })
}

// held returns errAway if the lease was not renewed lately.
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
