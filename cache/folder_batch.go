package cache

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"sync"

	"github.com/rcbops/rpcbuild/store"
)

// A batch is files whose content is not durable yet. One sync of the file system stands for one a
// file: for 1,000 files of 300 KB that is the difference between 6 s and 1 s.
type batch struct {
	sync.Mutex
	files []batched
	bytes int64
}

type batched struct{ temp, name string }

// What a batch holds at most: so much work is lost with a process that is killed. Chunks come to some
// 30 KB each, so that it is the bytes that count.
const (
	batchFiles = 4096
	batchBytes = 128 << 20
)

func (f *folder) Put(ctx context.Context, name string, content io.Reader) error {
	root, err := f.openToWrite(name)
	if err != nil {
		return err
	}
	temp := path.Join(tempDir, rand.Text())
	n, err := f.write(ctx, root, temp, content, false)
	if err != nil {
		return errors.Join(fmt.Errorf("write %s to rpc-repo %s: %w", name, f, err), removeTemp(root, temp))
	}
	f.batch.Lock()
	f.batch.files = append(f.batch.files, batched{temp, name})
	f.batch.bytes += n
	full := len(f.batch.files) >= batchFiles || f.batch.bytes >= batchBytes
	f.batch.Unlock()
	if full {
		return f.settle()
	}
	return nil
}

// settle makes durable what Put wrote, and gives it its names. Others write meanwhile. After an
// error, none of the files that are left has its name.
func (f *folder) settle() error {
	f.batch.Lock()
	files := f.batch.files
	f.batch.files, f.batch.bytes = nil, 0
	f.batch.Unlock()
	if len(files) == 0 {
		return nil
	}
	f.mu.Lock()
	root := f.root
	f.mu.Unlock()
	err := store.SyncFileSystem(f.dir)
	for _, b := range files {
		if err == nil {
			err = f.name(root, b.temp, b.name, true)
		}
		if err != nil {
			err = errors.Join(err, removeTemp(root, b.temp))
		}
	}
	if err != nil {
		return fmt.Errorf("write to rpc-repo %s: %w", f, err)
	}
	return nil
}

func removeTemp(root *os.Root, temp string) error {
	if err := root.Remove(temp); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (f *folder) Remove(_ context.Context, name string) error {
	root, err := f.openToWrite(name)
	if err != nil {
		return err
	}
	if err := root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("rpc-repo %s: %w", f, err)
	}
	return nil
}

func (f *folder) List(ctx context.Context, dir string, fn func(FileInfo) error) error {
	root, err := f.open(dir)
	if err != nil {
		return err
	}
	return fs.WalkDir(root.FS(), dir, func(name string, d fs.DirEntry, err error) error {
		if err == nil {
			err = ctx.Err()
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil // it went meanwhile
		}
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		fi, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("list rpc-repo %s: %w", f, err)
		}
		return fn(FileInfo{Path: name, Size: fi.Size(), Time: fi.ModTime()})
	})
}
