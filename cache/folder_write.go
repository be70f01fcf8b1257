package cache

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"time"

	"golang.org/x/sys/unix"
)

const (
	lockWait  = 10 * time.Millisecond // between attempts to lock
	tempAge   = 24 * time.Hour        // of a temporary file that a crash left: no write takes as long
	copyPiece = 64 << 20              // bytes between looks at the context
)

// openToWrite is open for whoever writes. The first time, it removes what crashed writers left.
func (f *folder) openToWrite(name string) (*os.Root, error) {
	root, err := f.open(name)
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.swept {
		return root, nil
	}
	if err := root.MkdirAll(tempDir, 0o755); err != nil {
		return nil, fmt.Errorf("write to rpc-repo %s: %w", f, err)
	}
	old, err := fs.ReadDir(root.FS(), tempDir)
	if err != nil {
		return nil, fmt.Errorf("write to rpc-repo %s: %w", f, err)
	}
	for _, e := range old {
		if fi, err := e.Info(); err == nil && time.Since(fi.ModTime()) > tempAge {
			root.Remove(path.Join(tempDir, e.Name())) // another process may have been faster
		}
	}
	f.swept = true
	return root, nil
}

func (f *folder) Create(ctx context.Context, name string, content io.Reader) error {
	return f.put(name, false, func(root *os.Root, temp string) error {
		_, err := f.write(ctx, root, temp, content, true)
		return err
	})
}

func (f *folder) Replace(ctx context.Context, name string, content io.Reader) error {
	return f.put(name, true, func(root *os.Root, temp string) error {
		if _, err := f.write(ctx, root, temp, content, true); err != nil {
			return err
		}
		return later(root, temp, name)
	})
}

// later dates a file that replaces another at least a second after that one: the ETag of web servers
// such as nginx is the time in seconds and the size, and must not stay the same.
func later(root *os.Root, temp, name string) error {
	old, err := root.Stat(name)
	if err != nil {
		return nil // nothing that a client could have seen
	}
	fi, err := root.Stat(temp)
	if err != nil {
		return err
	}
	next := old.ModTime().Truncate(time.Second).Add(time.Second)
	if !fi.ModTime().Before(next) {
		return nil
	}
	return root.Chtimes(temp, next, next)
}

func (f *folder) Link(_ context.Context, name, existing string, replace bool) error {
	root, err := f.openToWrite(name)
	if err != nil {
		return err
	}
	link := func(root *os.Root, temp string) error { return linkLiving(root, existing, temp) }
	err = f.put(name, false, link)
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	if same, sameErr := sameContent(root, name, existing); same || sameErr != nil {
		return sameErr
	}
	if !replace {
		return err
	}
	return f.put(name, true, link)
}

// linkLiving gives a file another name. If a process that pushes the same replaces the file meanwhile,
// the kernel says that it does not exist: what was looked up has no name any more.
func linkLiving(root *os.Root, existing, name string) error {
	for tries := 0; ; tries++ {
		err := root.Link(existing, name)
		if !errors.Is(err, fs.ErrNotExist) || tries == 10 {
			return err
		}
		if _, err := root.Lstat(existing); err != nil {
			return err
		}
	}
}

func (f *folder) Symlink(_ context.Context, name, target string, replace bool) error {
	root, err := f.openToWrite(name)
	if err != nil {
		return err
	}
	if !fs.ValidPath(target) {
		return fmt.Errorf("rpc-repo %s: path %q: want a clean relative path", f, target)
	}
	link := relative(name, target)
	there := func() bool {
		have, err := root.Readlink(name)
		return err == nil && have == link
	}
	if there() {
		return nil
	}
	err = f.put(name, replace, func(root *os.Root, temp string) error { return root.Symlink(link, temp) })
	if errors.Is(err, fs.ErrExist) && there() { // another process made it meanwhile
		return nil
	}
	return err
}

// put lets fill make a temporary file and gives that its name: in place of what is there, or, where
// something is there, fs.ErrExist.
func (f *folder) put(name string, replace bool, fill func(root *os.Root, temp string) error) error {
	root, err := f.openToWrite(name)
	if err != nil {
		return err
	}
	if _, err := root.Lstat(name); err == nil && !replace {
		return fmt.Errorf("write %s to rpc-repo %s: %w", name, f, fs.ErrExist)
	}
	temp := path.Join(tempDir, rand.Text())
	err = fill(root, temp)
	if err == nil {
		err = f.name(root, temp, name, replace)
	}
	// A rename of one name of a file to another of its names leaves both.
	if removeErr := root.Remove(temp); !errors.Is(removeErr, fs.ErrNotExist) {
		err = errors.Join(err, removeErr)
	}
	if err != nil {
		return fmt.Errorf("write %s to rpc-repo %s: %w", name, f, err)
	}
	return nil
}

func (f *folder) name(root *os.Root, temp, name string, replace bool) error {
	move := root.Link // fails where something is
	if replace {
		move = root.Rename
	}
	err := move(temp, name)
	if errors.Is(err, fs.ErrNotExist) {
		if err = root.MkdirAll(path.Dir(name), 0o755); err == nil {
			err = move(temp, name)
		}
	}
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for dir := path.Dir(name); ; dir = path.Dir(dir) {
		f.dirty[dir] = true
		if dir == "." {
			return nil
		}
	}
}

// write makes a file, and, if it is told to, makes its content durable. It returns its size in bytes.
// Files are read-only: a name in the consumers' tree is also a name in cache/.
func (f *folder) write(ctx context.Context, root *os.Root, temp string, content io.Reader, sync bool) (size int64, err error) {
	file, err := root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	if b, ok := content.(*bytes.Reader); ok {
		size, err = b.WriteTo(file) // in one piece
		if err == nil {
			err = io.EOF
		}
	}
	for err == nil {
		if err = ctx.Err(); err == nil {
			var n int64
			n, err = io.CopyN(file, content, copyPiece) // copy_file_range, from a file
			size += n
		}
	}
	if err != io.EOF {
		return size, err
	}
	if err := ctx.Err(); err != nil {
		return size, err
	}
	if err := file.Chmod(0o444); err != nil {
		return size, err
	}
	if !sync {
		return size, nil
	}
	return size, file.Sync()
}

func (f *folder) Update(ctx context.Context, name string, limit int64, change func([]byte) ([]byte, error)) error {
	root, err := f.openToWrite(name)
	if err != nil {
		return err
	}
	unlock, err := f.lock(ctx, root)
	if err != nil {
		return fmt.Errorf("update %s of rpc-repo %s: lock: %w", name, f, err)
	}
	defer unlock()
	old, err := f.readAll(ctx, name, limit)
	if err != nil {
		return err
	}
	b, err := change(old)
	if err != nil || old != nil && bytes.Equal(b, old) {
		return err
	}
	return f.Replace(ctx, name, bytes.NewReader(b))
}

// readAll returns the content of a file, or nil if there is none.
func (f *folder) readAll(ctx context.Context, name string, limit int64) ([]byte, error) {
	file, _, err := f.Get(ctx, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer file.Close()
	b, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err != nil {
		return nil, fmt.Errorf("rpc-repo %s: %w", f, err)
	}
	if int64(len(b)) > limit {
		return nil, &WrongError{Repo: f.dir, Path: name, Err: fmt.Errorf("more than %d bytes", limit)}
	}
	return b, nil
}

// lock keeps all other updaters out, in this process and in others. It is held for milliseconds. The
// kernel drops the lock of a process that dies.
func (f *folder) lock(ctx context.Context, root *os.Root) (unlock func() error, err error) {
	file, err := root.OpenFile(lockPath, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	for {
		err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return file.Close, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, errors.Join(err, file.Close())
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), file.Close())
		case <-time.After(lockWait):
		}
	}
}

func (f *folder) Flush(ctx context.Context) error {
	if err := f.settle(); err != nil {
		return err
	}
	f.mu.Lock() // held to the end: another's Flush must not return before its names are durable
	defer f.mu.Unlock()
	for dir := range f.dirty {
		if err := ctx.Err(); err != nil {
			return err
		}
		d, err := f.root.Open(dir)
		if err == nil {
			err = errors.Join(d.Sync(), d.Close())
		}
		if err != nil {
			return fmt.Errorf("sync %s of rpc-repo %s: %w", dir, f, err)
		}
		delete(f.dirty, dir)
	}
	return nil
}
