package cache

import (
	"context"
	"time"
)

// WithBackend returns a repo with a backend of a test's own.
func WithBackend(b Backend) *Repo { return newRepo(b, Options{Jobs: 2}) }

// LeaseTime makes a backend over SFTP take over locks after d.
func LeaseTime(b Backend, d time.Duration) { b.(*sftpRepo).lease = d }

// TakeLock takes the lock of a file until ctx ends. From then on it shows no sign of life, but is
// not given up either.
func TakeLock(ctx context.Context, b Backend, name string) error {
	s := b.(*sftpRepo)
	err := s.sweep(ctx)
	if err == nil {
		_, err = s.take(ctx, name)
	}
	return err
}
