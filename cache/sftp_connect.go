package cache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"time"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"
)

// What a server may do to us.
const (
	sshConnect = 10 * time.Second // to connect, and again to shake hands
	sshAlive   = 10 * time.Second // between questions whether it is still there
	sshStall   = 20 * time.Second // without an answer to that
	sshTries   = 4                // of one request while the connection breaks
	sshWait    = 200 * time.Millisecond
)

// An sshConn is one connection, which all goroutines share.
type sshConn struct {
	*sftp.Client
	ssh  *ssh.Client
	done chan struct{} // closed when nobody asks any more whether the server is there
}

// A refusal is an error for which connecting again is of no use.
type refusal struct{ error }

func (e refusal) Unwrap() error { return e.error }

// do is over for who needs no more than files.
func (s *sftpRepo) do(ctx context.Context, fn func(*sftp.Client) error) error {
	return s.over(ctx, func(c *sshConn) error { return fn(c.Client) })
}

// over runs fn with a connection; again with another one, if that breaks. fn must be able to take that
// what it did has happened already. It returns nothing but what the server answered.
func (s *sftpRepo) over(ctx context.Context, fn func(*sshConn) error) error {
	wait := s.wait
	for try := 1; ; try++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		conn, err := s.connect(ctx)
		if err == nil {
			if err = fn(conn); !broken(err) {
				return err
			}
			s.drop(conn)
			err = fmt.Errorf("the connection broke: %w", err)
		}
		var no refusal
		if try >= s.tries || errors.As(err, &no) {
			return fmt.Errorf("%w: %w", ErrUnreachable, err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
			wait *= 3
		}
	}
}

// broken reports whether err is none that the server gave as an answer.
func broken(err error) bool {
	var status *sftp.StatusError
	switch {
	case err == nil, errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission), errors.Is(err, fs.ErrExist):
		return false
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded), errors.Is(err, errOther), errors.Is(err, errLeaseLost):
		return false
	case errors.As(err, &status):
		return status.FxCode() == sftp.ErrSSHFxConnectionLost || status.FxCode() == sftp.ErrSSHFxNoConnection
	}
	return true
}

// connect returns the connection, and makes it if there is none.
func (s *sftpRepo) connect(ctx context.Context) (*sshConn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn != nil {
		return s.conn, nil
	}
	client, err := s.dial(ctx)
	if err != nil {
		return nil, err
	}
	conn := &sshConn{ssh: client, done: make(chan struct{})}
	go conn.watch()
	conn.Client, err = sftp.NewClient(client, sftp.UseConcurrentWrites(true))
	if err == nil {
		err = s.begin(conn.Client)
	}
	if err != nil {
		conn.close()
		return nil, err
	}
	s.conn = conn
	return conn, nil
}

func (s *sftpRepo) dial(ctx context.Context) (*ssh.Client, error) {
	tcp, err := (&net.Dialer{Timeout: sshConnect}).DialContext(ctx, "tcp", s.address)
	if err != nil {
		return nil, err
	}
	if err := tcp.SetDeadline(time.Now().Add(sshConnect)); err != nil {
		return nil, errors.Join(err, tcp.Close())
	}
	c, channels, requests, err := ssh.NewClientConn(tcp, s.address, s.config)
	if err != nil {
		tcp.Close()
		var network net.Error
		if errors.As(err, &network) || errors.Is(err, io.EOF) {
			return nil, err
		}
		return nil, refusal{fmt.Errorf("log in as %s: %w", s.config.User, sshHint(err))}
	}
	if err := tcp.SetDeadline(time.Time{}); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return ssh.NewClient(c, channels, requests), nil
}

// begin checks what a new connection leads to.
func (s *sftpRepo) begin(c *sftp.Client) error {
	for _, ext := range []string{"posix-rename@openssh.com", "hardlink@openssh.com"} {
		if _, ok := c.HasExtension(ext); !ok {
			return refusal{fmt.Errorf("the server lacks %s (OpenSSH's SFTP server has it)", ext)}
		}
	}
	if s.create {
		if err := makeFolders(c, s.dir); err != nil {
			return err
		}
	}
	fi, err := c.Stat(s.dir)
	if broken(err) {
		return err
	}
	if err == nil && !fi.IsDir() {
		err = errors.New("it is no folder")
	}
	if err != nil {
		return refusal{fmt.Errorf("folder %s of the server: %v", s.dir, err)} // and not fs.ErrNotExist: no file was asked for
	}
	return nil
}

// watch ends a connection whose server does not answer any more.
func (c *sshConn) watch() {
	defer close(c.done)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		c.ssh.Wait()
	}()
	for {
		select {
		case <-ended:
			return
		case <-time.After(sshAlive):
		}
		timer := time.AfterFunc(sshStall, func() { c.ssh.Close() })
		_, _, err := c.ssh.SendRequest("keepalive@openssh.com", true, nil)
		timer.Stop()
		if err != nil {
			c.ssh.Close()
		}
	}
}

func (c *sshConn) close() {
	if c.Client != nil {
		c.Client.Close()
	}
	c.ssh.Close()
	<-c.done
}

// drop closes a connection, so that the next request makes another.
func (s *sftpRepo) drop(conn *sshConn) {
	s.mu.Lock()
	if s.conn == conn {
		s.conn = nil
	}
	s.mu.Unlock()
	conn.close()
}

func (s *sftpRepo) Close() error {
	s.mu.Lock()
	conn := s.conn
	s.conn = nil
	s.mu.Unlock()
	if conn != nil {
		conn.close()
	}
	return nil
}
