package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// A Holder is the process that builds a derivation.
type Holder struct {
	PID   int       `json:"pid"`
	Host  string    `json:"host"`
	Since time.Time `json:"since"`
}

func (h Holder) String() string {
	return fmt.Sprintf("process %d on %s, since %s", h.PID, h.Host, h.Since.Format(time.RFC3339))
}

// Lock waits until no other process builds drv, and then keeps others from it until unlock is
// called. It calls waiting once if it must wait. The kernel drops the lock of a process that
// dies, so the next one takes over.
func (s *Store) Lock(ctx context.Context, drv DrvID, waiting func(Holder)) (unlock func(), err error) {
	if unlock, err = lock(ctx, s.path(lockDir, drv.String()), waiting); err != nil {
		return nil, fmt.Errorf("lock derivation %s: %w", drv, err)
	}
	return unlock, nil
}

// LockBlob is [Store.Lock] for the download of one content, which several derivations may want.
func (s *Store) LockBlob(ctx context.Context, b Blob, waiting func(Holder)) (unlock func(), err error) {
	if unlock, err = lock(ctx, s.path(lockDir, "blob-"+b.Digest.Encoded()), waiting); err != nil {
		return nil, fmt.Errorf("lock download of %s: %w", b.Digest, err)
	}
	return unlock, nil
}

// TryLockBlob is [Store.LockBlob] for whoever can do without: ok is false where another process has the
// lock.
func (s *Store) TryLockBlob(b Blob) (unlock func(), ok bool, err error) {
	f, err := tryLock(s.path(lockDir, "blob-"+b.Digest.Encoded()))
	if err != nil {
		return nil, false, fmt.Errorf("lock download of %s: %w", b.Digest, err)
	}
	if f == nil {
		return nil, false, nil
	}
	return hold(f), true, nil
}

// hold says in a locked file who holds it, and returns what ends that.
func hold(f *os.File) (unlock func()) {
	host, _ := os.Hostname()
	b, _ := json.Marshal(Holder{PID: os.Getpid(), Host: host, Since: time.Now().UTC().Truncate(time.Second)})
	f.Truncate(0)
	f.WriteAt(b, 0)
	return func() { os.Remove(f.Name()); f.Close() }
}

func lock(ctx context.Context, name string, waiting func(Holder)) (unlock func(), err error) {
	for told := false; ; {
		f, err := tryLock(name)
		if err != nil {
			return nil, err
		}
		if f != nil {
			return hold(f), nil
		}
		if !told && waiting != nil {
			var h Holder
			if b, err := os.ReadFile(name); err == nil && json.Unmarshal(b, &h) == nil {
				waiting(h)
				told = true
			}
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// tryLock returns the locked file, or nil if another process has it.
func tryLock(name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	switch err := flock(f, unix.LOCK_EX|unix.LOCK_NB); {
	case errors.Is(err, unix.EWOULDBLOCK):
		return nil, f.Close()
	case err != nil:
		return nil, errors.Join(err, f.Close())
	}
	// The holder before us removed the name: what we locked may be no one's lock any more.
	mine, err := f.Stat()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	now, err := os.Stat(name)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !os.SameFile(mine, now) {
		f.Close()
		return tryLock(name)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}
