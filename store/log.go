package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// CreateLog opens the file that takes what a build of drv prints, in place of an earlier build's.
func (s *Store) CreateLog(drv DrvID) (f *os.File, err error) {
	err = s.touches.during(func() (err error) {
		f, err = os.Create(s.LogPath(drv))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("create log: %w", err)
	}
	return f, nil
}

// LogPath returns where the log of the last build of drv lies.
func (s *Store) LogPath(drv DrvID) string { return s.path(logDir, drv.String()) }

// OpenLog opens what the last build of drv printed, or returns [ErrNotFound].
func (s *Store) OpenLog(drv DrvID) (*os.File, error) {
	f, err := os.Open(s.LogPath(drv))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("log of derivation %s: %w", drv, ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	return f, nil
}

func copyFile(from, to string, mode fs.FileMode) (err error) {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dst.Close()) }()
	_, err = dst.ReadFrom(src) // copy_file_range, where the file system can
	return err
}
