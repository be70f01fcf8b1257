package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// enter makes this process's temporary folder and locks it while the process lives. The folder's
// name ends with the session's start.
func (s *Store) enter() error {
	for {
		dir, err := os.MkdirTemp(s.path(tmpDir), "p")
		if err != nil {
			return err
		}
		f, err := lockFolder(dir, unix.LOCK_EX)
		if err == nil {
			return s.begin(f)
		}
		// Else a process that opened the store now took the folder for one that nobody holds.
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
}

// begin takes the time, by the clock of the file system, once the folder is locked: from then on gc
// knows of us, and spares what was touched since.
func (s *Store) begin(f *os.File) error {
	err := touch(f.Name())
	if err == nil {
		s.start, err = changed(f.Name())
	}
	name := f.Name() + "." + strconv.FormatInt(s.start, 10)
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		return errors.Join(err, f.Close())
	}
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0) // the same lock, by the new name
	if err != nil {
		return errors.Join(err, f.Close())
	}
	s.session = os.NewFile(uintptr(fd), name)
	return f.Close()
}

// oldestSession returns the start of the oldest session that lives: ours, if there is no older one.
// A session that begins meanwhile begins later.
func (s *Store) oldestSession() (int64, error) {
	entries, err := os.ReadDir(s.path(tmpDir))
	if err != nil {
		return 0, fmt.Errorf("look for sessions: %w", err)
	}
	oldest := s.start
	for _, e := range entries {
		start, err := strconv.ParseInt(strings.TrimPrefix(filepath.Ext(e.Name()), "."), 10, 64)
		if err != nil || start >= oldest {
			continue
		}
		f, err := lockFolder(s.path(tmpDir, e.Name()), unix.LOCK_SH|unix.LOCK_NB)
		if err == nil { // it is dead
			f.Close()
		} else if errors.Is(err, unix.EWOULDBLOCK) {
			oldest = start
		} else if !errors.Is(err, fs.ErrNotExist) {
			return 0, fmt.Errorf("look for sessions: %w", err)
		}
	}
	return oldest, nil
}

// sweep removes the temporary folders of processes that no longer hold their lock.
func (s *Store) sweep() {
	entries, err := os.ReadDir(s.path(tmpDir))
	if err != nil {
		return
	}
	for _, e := range entries {
		if f, err := lockFolder(s.path(tmpDir, e.Name()), unix.LOCK_EX|unix.LOCK_NB); err == nil {
			os.RemoveAll(f.Name())
			f.Close()
		}
	}
}

// lockFolder opens and locks a folder. If another process removes it meanwhile, the error is
// [fs.ErrNotExist].
func lockFolder(dir string, how int) (*os.File, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), how); err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", dir, err), f.Close())
	}
	if _, err := os.Stat(dir); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}
