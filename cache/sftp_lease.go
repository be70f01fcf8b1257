package cache

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	mathrand "math/rand/v2"
	"path"
	"sync"
	"time"

	"github.com/pkg/sftp"
)

// SFTP has no lock that ends with its holder, so a lock is a file that its holder keeps moving.
//
//   - It is made exclusively, as another name of a file of the holder's that holds a random token.
//   - The holder changes it every sixth of the lease. It writes to its own name of the file, so a
//     holder that was given up cannot write into its successor's lock.
//   - Who waits remembers what the lock held, and since when by its own clock; no clocks are
//     compared. If it has not changed for a whole lease, its holder is dead or cut off. It renames the
//     lock away, looks whether it is still that one, and, if it took another's, gives it back.
//   - The holder replaces the file only if it changed its lock less than half a lease ago and the lock
//     is still its own. Otherwise it starts again with what is there then.
//
// So no update is lost as long as the one request between that look and the replacement takes less
// than half a lease (15 s) to be carried out: a connection that is silent that long is closed by our
// side, and only a network that delivers its last packet later still could replace too late. An
// updater that dies makes the others of the same file wait one lease, once.
const leaseTime = 30 * time.Second

// errLeaseLost says that another took over the lock.
var errLeaseLost = errors.New("another writer took over the lock")

// updateTries is how often a lock may be lost before that is an error.
const updateTries = 5

// A lease is a lock that is held.
type lease struct {
	*sftpRepo
	lock  string // the lock's name
	own   string // the holder's own name of the same file
	token string

	mu    sync.Mutex
	count int
	alive time.Time // before the last change was sent

	stop context.CancelFunc
	done chan struct{}
}

func (s *sftpRepo) Update(ctx context.Context, name string, limit int64, change func([]byte) ([]byte, error)) error {
	if err := s.checkName(name); err != nil {
		return err
	}
	select {
	case s.updating <- struct{}{}:
		defer func() { <-s.updating }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := s.sweep(ctx); err != nil {
		return fmt.Errorf("update %s of rpc-repo %s: %w", name, s, err)
	}
	for try := 1; ; try++ {
		l, err := s.take(ctx, name)
		if err != nil {
			return fmt.Errorf("update %s of rpc-repo %s: lock: %w", name, s, err)
		}
		err = errors.Join(s.updateHeld(ctx, l, name, limit, change), l.release(ctx))
		if !errors.Is(err, errLeaseLost) || try == updateTries {
			return err
		}
	}
}

func (s *sftpRepo) updateHeld(ctx context.Context, l *lease, name string, limit int64, change func([]byte) ([]byte, error)) error {
	old, err := s.readAll(ctx, name, limit)
	if err != nil {
		return err
	}
	b, err := change(old)
	if err != nil || old != nil && bytes.Equal(b, old) {
		return err
	}
	return s.put(ctx, name, bytes.NewReader(b), func(t *sftpTemp) error {
		if err := s.later(ctx, t, name); err != nil {
			return err
		}
		return s.rename(ctx, t.name, name, l.check)
	})
}

// readAll returns the content of a file, or nil if there is none.
func (s *sftpRepo) readAll(ctx context.Context, name string, limit int64) ([]byte, error) {
	body, size, err := s.Get(ctx, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer body.Close()
	if size > limit {
		return nil, &WrongError{Repo: s.url, Path: name, Err: fmt.Errorf("more than %d bytes", limit)}
	}
	b := make([]byte, size)
	_, err = io.ReadFull(body, b)
	return b, err
}

// take waits for the lock of a file.
func (s *sftpRepo) take(ctx context.Context, name string) (*lease, error) {
	l := &lease{
		sftpRepo: s, own: tempName(), token: rand.Text(), done: make(chan struct{}),
		lock: path.Join(tempDir, fmt.Sprintf("lock-%x", sha256.Sum256([]byte(name)))),
	}
	if err := l.renew(ctx); err != nil {
		return nil, errors.Join(err, s.removeTemp(ctx, l.own))
	}
	var seen string
	var since time.Time
	for {
		err := s.do(ctx, func(c *sftp.Client) error { return c.Link(s.full(l.own), s.full(l.lock)) })
		if err == nil {
			return l.hold(ctx), nil
		}
		held, readErr := s.readLock(ctx, l.lock)
		switch {
		case readErr != nil:
			return nil, errors.Join(readErr, s.removeTemp(ctx, l.own))
		case l.owns(held):
			return l.hold(ctx), nil // the connection broke after the server did it
		case held == "":
			if since.IsZero() || seen != "" {
				seen, since = "", time.Now()
			} else if time.Since(since) > s.lease {
				return nil, errors.Join(err, s.removeTemp(ctx, l.own)) // nobody has it, and we cannot have it
			}
		case held != seen:
			seen, since = held, time.Now()
		case time.Since(since) > s.lease:
			if err := s.takeAway(ctx, l.lock, seen); err != nil {
				return nil, errors.Join(err, s.removeTemp(ctx, l.own))
			}
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), s.removeTemp(ctx, l.own))
		case <-time.After(lockWait + mathrand.N(5*lockWait)):
		}
	}
}

// takeAway removes the lock of a holder that gave no sign of life.
func (s *sftpRepo) takeAway(ctx context.Context, lock, seen string) error {
	away := tempName()
	err := s.do(ctx, func(c *sftp.Client) error { return c.PosixRename(s.full(lock), s.full(away)) })
	if errors.Is(err, fs.ErrNotExist) {
		return nil // another was faster
	}
	if err != nil {
		return err
	}
	if held, err := s.readLock(ctx, away); err != nil || held != seen {
		err = errors.Join(err, s.do(ctx, func(c *sftp.Client) error { return c.Link(s.full(away), s.full(lock)) }))
		if err != nil && errors.Is(err, ErrUnreachable) {
			return err
		}
	}
	return s.removeTemp(ctx, away)
}

// readLock returns what a lock holds; empty, if nobody has it.
func (s *sftpRepo) readLock(ctx context.Context, lock string) (string, error) {
	b, err := s.readAll(ctx, lock, pointerLimit)
	return string(b), err
}

func (l *lease) owns(held string) bool {
	return len(held) > len(l.token) && held[:len(l.token)] == l.token
}

// renew changes the lock. Its content has always the same length.
func (l *lease) renew(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.count++
	now := time.Now()
	err := l.do(ctx, func(c *sftp.Client) error {
		f, err := c.OpenFile(l.full(l.own), writeFlags)
		if err != nil {
			return err
		}
		_, err = f.WriteAt(fmt.Appendf(nil, "%s %016d\n", l.token, l.count), 0)
		return errors.Join(err, f.Close())
	})
	if err == nil {
		l.alive = now
	}
	return err
}

// hold keeps the lock moving until release; from now on, if waiting for it took long.
func (l *lease) hold(ctx context.Context) *lease {
	ctx, l.stop = context.WithCancel(ctx)
	wait := l.sftpRepo.lease/6 - time.Since(l.alive)
	go func() {
		defer close(l.done)
		for {
			select {
			case <-ctx.Done():
				return
			case <-time.After(wait):
				l.renew(ctx) // whether that was in time, check finds out
				wait = l.sftpRepo.lease / 6
			}
		}
	}()
	return l
}

// check says errLeaseLost unless the lock is still held for long enough.
func (l *lease) check(c *sftp.Client) error {
	f, err := c.Open(l.full(l.lock))
	if errors.Is(err, fs.ErrNotExist) {
		return errLeaseLost
	}
	if err != nil {
		return err
	}
	b := make([]byte, len(l.token)+1)
	n, err := f.ReadAt(b, 0)
	if n < len(b) {
		return errors.Join(err, f.Close())
	}
	if err := f.Close(); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.owns(string(b)) || time.Since(l.alive) > l.sftpRepo.lease/2 {
		return errLeaseLost
	}
	return nil
}

// release gives the lock up; also after ctx ended, so that nobody waits for a lease.
func (l *lease) release(ctx context.Context) error {
	l.stop()
	<-l.done
	short, cancel := context.WithTimeout(context.WithoutCancel(ctx), sshConnect)
	defer cancel()
	err := l.do(short, func(c *sftp.Client) error {
		if err := l.check(c); err != nil {
			return err
		}
		return c.Remove(l.full(l.lock))
	})
	if errors.Is(err, errLeaseLost) || errors.Is(err, fs.ErrNotExist) {
		err = nil // it is no longer ours
	}
	return errors.Join(err, l.removeTemp(short, l.own))
}
