package cache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// folder is the [Writer] for a folder of this machine, which any number of processes may write to,
// and any web server may serve. Nothing outside of the folder is read or written, whatever links
// are in it.
type folder struct {
	dir    string
	create bool

	mu    sync.Mutex
	root  *os.Root
	swept bool
	dirty map[string]bool // folders whose names are not durable yet

	batch batch
}

func openFolder(dir string, create bool) (*folder, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("open rpc-repo: %w", err)
	}
	return &folder{dir: dir, create: create, dirty: make(map[string]bool)}, nil
}

func (f *folder) String() string { return f.dir }

func (f *folder) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.root == nil {
		return nil
	}
	return f.root.Close()
}

// open returns the folder, once it is there.
func (f *folder) open(name string) (*os.Root, error) {
	if !fs.ValidPath(name) {
		return nil, fmt.Errorf("rpc-repo %s: path %q: want a clean relative path", f, name)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.root != nil {
		return f.root, nil
	}
	if f.create {
		if err := os.MkdirAll(f.dir, 0o755); err != nil {
			return nil, fmt.Errorf("make rpc-repo: %w", err)
		}
	}
	root, err := os.OpenRoot(f.dir)
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrUnreachable, err) // and not fs.ErrNotExist: no file was asked for
	}
	f.root = root
	return root, nil
}

func (f *folder) Get(_ context.Context, name string) (io.ReadCloser, int64, error) {
	root, err := f.open(name)
	if err != nil {
		return nil, 0, err
	}
	file, err := root.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0) // a named pipe must not block
	if err != nil {
		return nil, 0, f.notThere(err)
	}
	fi, err := file.Stat()
	if err == nil && !fi.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a file: %w", name, fs.ErrNotExist)
	}
	if err != nil {
		file.Close()
		return nil, 0, fmt.Errorf("rpc-repo %s: %w", f, err)
	}
	return file, fi.Size(), nil
}

func (f *folder) GetRange(ctx context.Context, name string, offset, size int64) (io.ReadCloser, error) {
	file, _, err := f.Get(ctx, name)
	if err != nil {
		return nil, err
	}
	return struct {
		io.Reader
		io.Closer
	}{io.NewSectionReader(file.(*os.File), offset, size), file}, nil
}

// GetChanged takes for a tag what a change cannot leave alone: a file is only ever replaced.
func (f *folder) GetChanged(ctx context.Context, name, tag string) (io.ReadCloser, string, error) {
	body, _, err := f.Get(ctx, name)
	if err != nil {
		return nil, "", err
	}
	fi, err := body.(*os.File).Stat()
	if err != nil {
		return nil, "", errors.Join(f.notThere(err), body.Close())
	}
	newTag := fmt.Sprintf("%d-%d-%d", fi.Sys().(*syscall.Stat_t).Ino, fi.Size(), fi.ModTime().UnixNano())
	if newTag == tag {
		return nil, "", errors.Join(fmt.Errorf("rpc-repo %s: %s: %w", f, name, ErrNotChanged), body.Close())
	}
	return body, newTag, nil
}

func (f *folder) Stat(_ context.Context, name string) (int64, error) {
	root, err := f.open(name)
	if err != nil {
		return 0, err
	}
	fi, err := root.Stat(name)
	if err == nil && !fi.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a file: %w", name, fs.ErrNotExist)
	}
	if err != nil {
		return 0, f.notThere(err)
	}
	return fi.Size(), nil
}

// notThere makes "a parent is not a folder" what a web server makes of it.
func (f *folder) notThere(err error) error {
	if errors.Is(err, unix.ENOTDIR) {
		return fmt.Errorf("rpc-repo %s: %w: %w", f, err, fs.ErrNotExist)
	}
	return fmt.Errorf("rpc-repo %s: %w", f, err)
}
