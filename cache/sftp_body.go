package cache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"github.com/pkg/sftp"
)

// sftpBody is a file that is read from a server, many packets at a time. Where the connection breaks,
// it is opened again and read on from there, unless it is another file by then.
type sftpBody struct {
	*sftpRepo
	ctx  context.Context
	name string
	size int64
	time time.Time

	client *sftp.Client // that the file is open on
	file   *sftp.File
	offset int64  // of what was read from the server
	end    int64  // of what is to be read
	buffer []byte // for what is asked for at once
	ready  []byte // of the buffer, not given to the reader yet
}

// errOther says that a file was replaced while it was read.
var errOther = errors.New("the file was replaced while it was read")

// open opens the file on a connection; again, if it was open on another.
func (b *sftpBody) open(c *sftp.Client) error {
	f, err := c.Open(b.full(b.name))
	if err != nil {
		return err
	}
	fi, err := f.Stat()
	switch {
	case err != nil:
	case !fi.Mode().IsRegular():
		err = fmt.Errorf("not a file: %w", fs.ErrNotExist)
	case b.client == nil:
		b.size, b.time = fi.Size(), fi.ModTime()
	case b.size != fi.Size() || !b.time.Equal(fi.ModTime()):
		err = errOther
	}
	if err != nil {
		f.Close()
		return err
	}
	b.client, b.file = c, f
	return nil
}

func (b *sftpBody) Read(p []byte) (int, error) {
	if len(b.ready) == 0 {
		if b.offset == b.end {
			return 0, io.EOF
		}
		if err := b.ctx.Err(); err != nil {
			return 0, err
		}
		if err := b.fill(); err != nil {
			return 0, fmt.Errorf("read %s of rpc-repo %s: %w", b.name, b.sftpRepo, err)
		}
	}
	n := copy(p, b.ready)
	b.ready = b.ready[n:]
	return n, nil
}

func (b *sftpBody) fill() error {
	if b.buffer == nil {
		b.buffer = make([]byte, min(b.end-b.offset, sftpWindow))
	}
	want := b.buffer[:min(b.end-b.offset, int64(len(b.buffer)))]
	err := b.do(b.ctx, func(c *sftp.Client) error {
		if c != b.client {
			if err := b.open(c); err != nil {
				return err
			}
		}
		if n, err := b.file.ReadAt(want, b.offset); n < len(want) {
			return err // also io.EOF, which is what a connection that broke looks like
		}
		return nil
	})
	if err != nil {
		return err
	}
	b.offset += int64(len(want))
	b.ready = want
	return nil
}

func (b *sftpBody) Close() error {
	if err := b.file.Close(); err != nil && !broken(err) {
		return fmt.Errorf("close %s of rpc-repo %s: %w", b.name, b.sftpRepo, err)
	}
	return nil
}
