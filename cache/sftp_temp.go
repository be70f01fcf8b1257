package cache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"time"

	"github.com/pkg/sftp"
)

// syncExtension is how a file's content is made durable. A server without it leaves that to its file
// system.
const syncExtension = "fsync@openssh.com"

// sftpTemp is a file under a temporary name. Its content is sent piece by piece; a piece whose
// connection breaks is sent again over the next one, so the content need not be read twice.
type sftpTemp struct {
	*sftpRepo
	name   string
	client *sftp.Client // that the file is open on
	file   *sftp.File
	buffer []byte    // of what is sent at once
	time   time.Time // when its content was complete, by the server's clock
}

func (s *sftpRepo) newTemp() *sftpTemp { return &sftpTemp{sftpRepo: s, name: tempName()} }

// open opens the file on a connection, unless it is.
func (t *sftpTemp) open(c *sftp.Client) error {
	if t.client == c {
		return nil
	}
	f, err := c.OpenFile(t.full(t.name), writeFlags)
	if err == nil {
		t.client, t.file = c, f
	}
	return err
}

// send writes content into the file, from offset on. The file is made if there is no content.
func (t *sftpTemp) send(ctx context.Context, content io.Reader, offset int64) error {
	if t.buffer == nil {
		t.buffer = make([]byte, 32<<10) // most files are small
	}
	for begun := false; ; begun = true {
		n, readErr := io.ReadFull(content, t.buffer)
		if readErr != nil && readErr != io.EOF && readErr != io.ErrUnexpectedEOF {
			return readErr
		}
		if n > 0 || !begun {
			if err := t.writeAt(ctx, t.buffer[:n], offset); err != nil {
				return err
			}
		}
		if offset += int64(n); readErr != nil {
			return nil
		}
		if len(t.buffer) < sftpWindow {
			t.buffer = make([]byte, sftpWindow)
		}
	}
}

// complete makes the content durable and the file read-only: a name in the consumers' tree is also a name
// in cache/.
func (t *sftpTemp) complete(ctx context.Context) error {
	if err := t.do(ctx, t.finish); err != nil {
		return err
	}
	return t.do(ctx, func(c *sftp.Client) error { return c.Chmod(t.full(t.name), 0o444) })
}

func (t *sftpTemp) writeAt(ctx context.Context, p []byte, offset int64) error {
	err := t.do(ctx, func(c *sftp.Client) error {
		if err := t.open(c); err != nil || len(p) == 0 {
			return err
		}
		_, err := t.file.WriteAt(p, offset)
		return err
	})
	var status *sftp.StatusError
	if errors.As(err, &status) && !errors.Is(err, ErrUnreachable) {
		return fmt.Errorf("%w (is the server's disk full?)", err)
	}
	return err
}

// finish makes the content durable and closes the file.
func (t *sftpTemp) finish(c *sftp.Client) error {
	if err := t.open(c); err != nil {
		return err
	}
	if _, ok := c.HasExtension(syncExtension); ok {
		if err := t.file.Sync(); err != nil {
			return err
		}
	}
	fi, err := t.file.Stat()
	if err != nil {
		return err
	}
	t.time = fi.ModTime()
	return t.file.Close()
}

// abandon closes a file that was not finished.
func (t *sftpTemp) abandon() {
	if t.file != nil {
		t.file.Close()
	}
}

// sweep makes the folder for temporary files, and the first time removes what crashed writers left.
func (s *sftpRepo) sweep(ctx context.Context) error {
	s.mu.Lock()
	swept := s.swept
	s.mu.Unlock()
	if swept {
		return nil
	}
	err := s.do(ctx, func(c *sftp.Client) error {
		if err := makeFolders(c, s.full(tempDir)); err != nil {
			return err
		}
		old, err := c.ReadDirContext(ctx, s.full(tempDir))
		if err != nil {
			return err
		}
		for _, fi := range old {
			if time.Since(fi.ModTime()) > tempAge && fi.Mode().IsRegular() {
				err := c.Remove(s.full(path.Join(tempDir, fi.Name())))
				if err != nil && !errors.Is(err, fs.ErrNotExist) { // another may have been faster
					return err
				}
			}
		}
		return nil
	})
	if err == nil {
		s.mu.Lock()
		s.swept = true
		s.mu.Unlock()
	}
	return err
}
