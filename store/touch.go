package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// Whoever relies on an object that is there already sets its time of change to now, once a session.
// gc removes only what was changed before the oldest living session began, so nothing that somebody
// relies on goes, and nobody needs a list of what that is.

// sweepLock is a file that is locked shared for the moment of a touch, and by gc exclusively for the
// moments in which it looks at times of change and removes what is old.
const sweepLock = "sweep.lock"

// touches keeps gc out for the moment of a touch.
type touches struct {
	sync.Mutex // a lock on a file counts for all goroutines at once
	file       *os.File
}

func (t *touches) open(name string) (err error) {
	if t.file, err = os.OpenFile(name, os.O_RDONLY|os.O_CREATE, 0o644); err != nil {
		return fmt.Errorf("open lock: %w", err)
	}
	return nil
}

func (t *touches) close() error {
	if t.file == nil {
		return nil
	}
	return t.file.Close()
}

// hold keeps gc from removing anything until release is called, which must be milliseconds later.
func (t *touches) hold() error {
	t.Lock()
	err := flock(t.file, unix.LOCK_SH)
	if err != nil {
		t.Unlock()
	}
	return err
}

func (t *touches) release() {
	flock(t.file, unix.LOCK_UN)
	t.Unlock()
}

// during calls fn while gc removes nothing.
func (t *touches) during(fn func() error) error {
	if err := t.hold(); err != nil {
		return err
	}
	defer t.release()
	return fn()
}

// exclusively calls fn while nobody touches anything. It must take milliseconds.
func (t *touches) exclusively(fn func() error) error {
	t.Lock()
	defer t.Unlock()
	if err := flock(t.file, unix.LOCK_EX); err != nil {
		return err
	}
	defer flock(t.file, unix.LOCK_UN)
	return fn()
}

func flock(f *os.File, how int) error {
	for {
		switch err := unix.Flock(int(f.Fd()), how); {
		case err == nil:
			return nil
		case !errors.Is(err, unix.EINTR):
			return &os.PathError{Op: "lock", Path: f.Name(), Err: err}
		}
	}
}

// rely reports whether the object at name is there, and keeps gc from it while this session lives. An
// error says that nobody can tell.
func (s *Store) rely(name string) (there bool, err error) {
	err = s.relyOnMany(func(rely func(string) (bool, error)) error {
		there, err = rely(name)
		return err
	})
	return there, err
}

// relyOnMany calls fn with a rely that takes the lock once for all that is touched.
func (s *Store) relyOnMany(fn func(rely func(name string) (bool, error)) error) error {
	held := false
	defer func() {
		if held {
			s.touches.release()
		}
	}()
	return fn(func(name string) (bool, error) {
		switch t, err := changed(name); {
		case gone(err):
			return false, nil
		case err != nil || t >= s.start:
			return err == nil, err
		}
		if !held {
			if err := s.touches.hold(); err != nil {
				return relied(err), nil
			}
			held = true
		}
		return relied(touch(name)), nil
	})
}

// relyOn is rely for an object whose time of change is known.
func (s *Store) relyOn(name string, changed int64) bool {
	if changed >= s.start {
		return true
	}
	return relied(s.touches.during(func() error { return touch(name) }))
}

// relied reports whether an object is there after a touch ended with err. Of one that may not be touched, in a
// store that belongs to somebody else, gc cannot know that we rely on it. What cannot be touched for another
// reason counts as gone: a gc that can may come.
func relied(err error) bool {
	return err == nil || errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.EROFS)
}

// touch sets the time of change to now.
func touch(name string) error {
	now := []unix.Timespec{{Nsec: unix.UTIME_OMIT}, {Nsec: unix.UTIME_NOW}}
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, name, now, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return &os.PathError{Op: "touch", Path: name, Err: err}
	}
	return nil
}

// changed returns the time of change, in nanoseconds since 1970 by the clock of the file system.
func changed(name string) (int64, error) {
	var st unix.Stat_t
	if err := unix.Lstat(name, &st); err != nil {
		return 0, &os.PathError{Op: "stat", Path: name, Err: err}
	}
	return st.Mtim.Nano(), nil
}
