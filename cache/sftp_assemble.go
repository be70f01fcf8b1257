package cache

import (
	"context"
	"errors"
	"io"
	"os"
	"slices"

	"golang.org/x/crypto/ssh"
)

// Assemble has the server copy what it has, where it knows how to (OpenSSH from 9.0 on does), and sends the
// rest.
func (s *sftpRepo) Assemble(ctx context.Context, name string, content *os.File, spans []Span) (sent int64, err error) {
	fi, err := content.Stat()
	if err != nil {
		return 0, err
	}
	err = s.putTemp(ctx, name, func(t *sftpTemp) error {
		copied, err := t.copy(ctx, spans)
		if err != nil {
			return err
		}
		if !copied {
			spans = nil
		}
		sent, err = t.fill(ctx, content, fi.Size(), spans)
		return err
	}, func(t *sftpTemp) error { return s.rename(ctx, t.name, name, nil) })
	return sent, err
}

// copy has the server copy the spans into the file. It reports whether the server can.
func (t *sftpTemp) copy(ctx context.Context, spans []Span) (can bool, err error) {
	if len(spans) == 0 {
		return false, nil
	}
	select {
	case <-ctx.Done():
		return false, ctx.Err()
	case t.copying <- struct{}{}: // a server has few sessions for a connection
		defer func() { <-t.copying }()
	}
	err = t.over(ctx, func(conn *sshConn) (err error) {
		if _, can = conn.HasExtension(copyExtension); !can {
			return nil
		}
		if err := t.open(conn.Client); err != nil {
			return err
		}
		c, err := newSFTPCopier(conn.ssh, t.dir)
		if no := (*ssh.OpenChannelError)(nil); errors.As(err, &no) {
			can = false
			return nil
		}
		if err != nil {
			return err
		}
		return errors.Join(c.copy(ctx, t.name, spans), c.close())
	})
	return can, err
}

// fill sends what no span holds of content of size bytes, and returns how many bytes that were.
func (t *sftpTemp) fill(ctx context.Context, content io.ReaderAt, size int64, spans []Span) (sent int64, err error) {
	var offset int64
	for _, s := range append(slices.Clip(spans), Span{Offset: size}) {
		n := s.Offset - offset
		if err := t.send(ctx, io.NewSectionReader(content, offset, n), offset); err != nil {
			return sent, err
		}
		sent, offset = sent+n, s.Offset+s.Size
	}
	return sent, nil
}
