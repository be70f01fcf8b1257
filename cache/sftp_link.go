package cache

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/pkg/sftp"
)

const writeFlags = os.O_WRONLY | os.O_CREATE

func (s *sftpRepo) Link(ctx context.Context, name, existing string, replace bool) error {
	if err := errors.Join(s.checkName(name), s.checkName(existing)); err != nil {
		return err
	}
	err := s.sweep(ctx)
	if err == nil {
		err = s.link(ctx, existing, name)
	}
	if errors.Is(err, fs.ErrExist) {
		same, sameErr := s.sameContent(ctx, name, existing)
		switch {
		case sameErr != nil:
			err = sameErr
		case same:
			return nil
		case replace:
			err = s.relink(ctx, name, func(c *sftp.Client, temp string) error { return c.Link(s.full(existing), temp) })
		}
	}
	if err != nil {
		return fmt.Errorf("write %s to rpc-repo %s: %w", name, s, err)
	}
	return nil
}

// relink lets fill make a temporary name, and renames that.
func (s *sftpRepo) relink(ctx context.Context, name string, fill func(c *sftp.Client, temp string) error) error {
	temp := tempName()
	err := s.do(ctx, func(c *sftp.Client) error {
		err := fill(c, s.full(temp))
		if err == nil || broken(err) {
			return err
		}
		if _, statErr := c.Lstat(s.full(temp)); statErr == nil || broken(statErr) {
			return statErr // if it is there, it was made before the connection broke
		}
		return err
	})
	if err == nil {
		err = s.rename(ctx, temp, name, nil)
	}
	return errors.Join(err, s.removeTemp(ctx, temp)) // a rename to another name of the same file leaves both
}

func (s *sftpRepo) Symlink(ctx context.Context, name, target string, replace bool) error {
	if err := errors.Join(s.checkName(name), s.checkName(target)); err != nil {
		return err
	}
	link := relative(name, target)
	make := func(c *sftp.Client, at string) error {
		err := c.Symlink(link, at)
		if err == nil || broken(err) || errors.Is(err, fs.ErrNotExist) {
			return err
		}
		have, readErr := c.ReadLink(at)
		if broken(readErr) || readErr == nil && have == link {
			return readErr
		}
		_, statErr := c.Lstat(at)
		if broken(statErr) {
			return statErr
		}
		if statErr == nil {
			return fs.ErrExist
		}
		return err
	}
	err := s.sweep(ctx)
	if err == nil {
		err = s.do(ctx, func(c *sftp.Client) error {
			return s.inFolder(c, name, func() error { return make(c, s.full(name)) })
		})
	}
	if errors.Is(err, fs.ErrExist) && replace {
		err = s.relink(ctx, name, make)
	}
	if err != nil {
		return fmt.Errorf("write %s to rpc-repo %s: %w", name, s, err)
	}
	s.touched(name)
	return nil
}

// sameContent compares two files: first by size, then by identity, and only if a copy of the repo has
// lost its hard links, byte by byte.
func (s *sftpRepo) sameContent(ctx context.Context, a, b string) (bool, error) {
	sizeA, err := s.Stat(ctx, a)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil // a link to nowhere, or a folder
	}
	if err != nil {
		return false, err
	}
	sizeB, err := s.Stat(ctx, b)
	if err != nil || sizeA != sizeB {
		return false, err
	}
	var same bool
	err = s.do(ctx, func(c *sftp.Client) (err error) {
		same, err = s.sameFile(c, a, b)
		return err
	})
	if err != nil || same {
		return same, err
	}
	fileA, _, err := s.Get(ctx, a)
	if err != nil {
		return false, err
	}
	defer fileA.Close()
	fileB, _, err := s.Get(ctx, b)
	if err != nil {
		return false, err
	}
	defer fileB.Close()
	return sameBytes(fileA, fileB)
}

// sameFile reports whether two names are of one file. SFTP does not tell, but rename(2) does: of two
// names of one file, it leaves both.
func (s *sftpRepo) sameFile(c *sftp.Client, a, b string) (bool, error) {
	from, to := s.full(tempName()), s.full(tempName())
	defer c.Remove(to)
	defer c.Remove(from)
	if err := c.Link(s.full(a), from); err != nil {
		return false, err
	}
	if err := c.Link(s.full(b), to); err != nil {
		return false, err
	}
	if err := c.PosixRename(from, to); err != nil {
		return false, err
	}
	_, err := c.Lstat(from)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}
