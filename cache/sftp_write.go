package cache

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"time"

	"github.com/pkg/sftp"
)

func (s *sftpRepo) Create(ctx context.Context, name string, content io.Reader) error {
	return s.put(ctx, name, content, func(t *sftpTemp) error { return s.link(ctx, t.name, name) })
}

func (s *sftpRepo) Replace(ctx context.Context, name string, content io.Reader) error {
	return s.put(ctx, name, content, func(t *sftpTemp) error {
		if err := s.later(ctx, t, name); err != nil {
			return err
		}
		return s.rename(ctx, t.name, name, nil)
	})
}

// Put does not wait for Flush: SFTP syncs single files and no file system.
func (s *sftpRepo) Put(ctx context.Context, name string, content io.Reader) error {
	return s.put(ctx, name, content, func(t *sftpTemp) error { return s.rename(ctx, t.name, name, nil) })
}

// put makes a file of content, and lets finish give it its name.
func (s *sftpRepo) put(ctx context.Context, name string, content io.Reader, finish func(*sftpTemp) error) error {
	return s.putTemp(ctx, name, func(t *sftpTemp) error { return t.send(ctx, content, 0) }, finish)
}

// putTemp lets fill write a temporary file, makes that durable, lets finish give it its name, and removes it.
func (s *sftpRepo) putTemp(ctx context.Context, name string, fill, finish func(*sftpTemp) error) error {
	if err := s.checkName(name); err != nil {
		return err
	}
	t := s.newTemp()
	err := s.sweep(ctx)
	if err == nil {
		if err = fill(t); err != nil {
			t.abandon()
		} else {
			err = t.complete(ctx)
		}
	}
	if err == nil {
		err = finish(t)
	}
	if err = errors.Join(err, s.removeTemp(ctx, t.name)); err != nil {
		return fmt.Errorf("write %s to rpc-repo %s: %w", name, s, err)
	}
	return nil
}

func tempName() string { return path.Join(tempDir, rand.Text()) }

// removeTemp removes a temporary name, also when the work on it was given up. What is left behind, a
// later writer sweeps.
func (s *sftpRepo) removeTemp(ctx context.Context, name string) error {
	if err := ctx.Err(); err != nil {
		short, cancel := context.WithTimeout(context.WithoutCancel(ctx), sshConnect)
		defer cancel()
		s.remove(short, name)
		return nil // the caller knows the error of ctx
	}
	return s.remove(ctx, name)
}

func (s *sftpRepo) remove(ctx context.Context, name string) error {
	err := s.do(ctx, func(c *sftp.Client) error { return c.Remove(s.full(name)) })
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func (s *sftpRepo) Remove(ctx context.Context, name string) error {
	if err := s.checkName(name); err != nil {
		return err
	}
	if err := s.remove(ctx, name); err != nil {
		return fmt.Errorf("remove %s of rpc-repo %s: %w", name, s, err)
	}
	s.touched(name)
	return nil
}

// later is for SFTP what it is for a folder: the time in whole seconds moves with each replacement.
func (s *sftpRepo) later(ctx context.Context, t *sftpTemp, name string) error {
	return s.do(ctx, func(c *sftp.Client) error {
		old, err := c.Stat(s.full(name))
		if errors.Is(err, fs.ErrNotExist) {
			return nil // nothing that a client could have seen
		}
		if err != nil {
			return err
		}
		if next := old.ModTime().Add(time.Second); t.time.Before(next) {
			return c.Chtimes(s.full(t.name), next, next)
		}
		return nil
	})
}

// link makes a new name of a file, or says fs.ErrExist. The connection may break after the server did
// it: then the name is one of this very file.
func (s *sftpRepo) link(ctx context.Context, existing, name string) error {
	again := false
	err := s.do(ctx, func(c *sftp.Client) error {
		err := s.inFolder(c, name, func() error { return c.Link(s.full(existing), s.full(name)) })
		if err == nil || broken(err) {
			again = true
			return err
		}
		if _, statErr := c.Lstat(s.full(name)); statErr != nil {
			if broken(statErr) {
				return statErr
			}
			return err
		}
		if again {
			if same, err := s.sameFile(c, existing, name); same || err != nil {
				return err
			}
		}
		return fs.ErrExist
	})
	if err == nil {
		s.touched(name)
	}
	return err
}

// rename gives a temporary file a name, in place of what has it. check, if set, is asked at the last
// moment.
func (s *sftpRepo) rename(ctx context.Context, temp, name string, check func(*sftp.Client) error) error {
	again := false
	err := s.do(ctx, func(c *sftp.Client) error {
		if check != nil {
			if err := check(c); err != nil {
				return err
			}
		}
		err := s.inFolder(c, name, func() error { return c.PosixRename(s.full(temp), s.full(name)) })
		if again && errors.Is(err, fs.ErrNotExist) {
			return nil // the connection broke after the server did it
		}
		again = again || broken(err)
		return err
	})
	if err == nil {
		s.touched(name)
	}
	return err
}

// inFolder does something for which a name's folder must be there.
func (s *sftpRepo) inFolder(c *sftp.Client, name string, do func() error) error {
	err := do()
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := makeFolders(c, path.Dir(s.full(name))); err != nil {
		return err
	}
	return do()
}

// makeFolders makes a folder, and those that it is in, for every web server to read.
func makeFolders(c *sftp.Client, dir string) error {
	err := c.Mkdir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		if err := makeFolders(c, path.Dir(dir)); err != nil {
			return err
		}
		err = c.Mkdir(dir)
	}
	if err == nil {
		return c.Chmod(dir, 0o755)
	}
	fi, statErr := c.Stat(dir)
	if broken(statErr) {
		return statErr
	}
	if statErr == nil && fi.IsDir() {
		return nil
	}
	return fmt.Errorf("make folder %s: %w", dir, err)
}

// touched remembers that the names in a folder, and the folder's own, are not durable yet.
func (s *sftpRepo) touched(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for dir := path.Dir(name); ; dir = path.Dir(dir) {
		s.dirty[dir] = true
		if dir == "." {
			return
		}
	}
}

// Flush makes folders durable where the server can: OpenSSH's opens a folder like a file. One that
// cannot leaves to its file system when names become durable.
func (s *sftpRepo) Flush(ctx context.Context) error {
	s.mu.Lock()
	dirty := make([]string, 0, len(s.dirty))
	for dir := range s.dirty {
		dirty = append(dirty, dir)
	}
	s.mu.Unlock()
	for _, dir := range dirty {
		err := s.do(ctx, func(c *sftp.Client) error { return syncFolder(c, s.full(dir)) })
		if err != nil {
			return fmt.Errorf("sync %s of rpc-repo %s: %w", dir, s, err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, dir := range dirty {
		delete(s.dirty, dir)
	}
	return nil
}

func syncFolder(c *sftp.Client, dir string) error {
	if _, ok := c.HasExtension(syncExtension); !ok {
		return nil
	}
	d, err := c.Open(dir)
	if err == nil {
		err = errors.Join(d.Sync(), d.Close())
	}
	if broken(err) {
		return err
	}
	return nil
}
