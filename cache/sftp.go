package cache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/url"
	"os/user"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"
)

// SSHOptions say how an SSH server is logged in to and known again.
type SSHOptions struct {
	// User is whom to log in as where the URL names nobody; empty means who runs this program.
	User string
	// KeyFile has the private key to log in with.
	KeyFile string
	// HostKeyFile says which key the server has: a known_hosts file, or the public key alone. A
	// server with another key is refused, and without a file, every server is.
	HostKeyFile string
}

// sftpRepo is the [Writer] for a folder of another machine, through OpenSSH's SFTP server. Any number
// of processes on any machines may write to it that way; whoever writes to the folder itself at the
// same time takes another lock, so do one or the other.
//
// A connection that breaks is made anew, and the work goes on where it was. A context ends work
// between two requests; a server that is silent within one is given up after [sshStall].
type sftpRepo struct {
	url     string
	address string // host:port
	dir     string // absolute, on the server
	create  bool
	config  *ssh.ClientConfig
	tries   int           // of one request while the connection breaks each time
	wait    time.Duration // before the second try; three times as much before each next one
	lease   time.Duration // without a sign of life, after which a lock is taken over

	mu    sync.Mutex
	conn  *sshConn
	swept bool
	dirty map[string]bool // folders whose names are not durable yet

	updating chan struct{} // holds one: within a process, updaters need not ask the server who is next
	copying  chan struct{} // holds one
}

// sftpWindow is how many bytes are asked for or sent before their answers are awaited.
const sftpWindow = 2 << 20

func openSFTP(u *url.URL, opts Options) (*sftpRepo, error) {
	fail := func(format string, args ...any) (*sftpRepo, error) {
		return nil, fmt.Errorf("open rpc-repo %s: %w", u.Redacted(), fmt.Errorf(format, args...))
	}
	if _, ok := u.User.Password(); ok {
		return fail("a password in the URL is not supported: log in with a key (REPO_USER_KEY names its file)")
	}
	if u.Hostname() == "" {
		return fail("the URL names no host")
	}
	if u.RawQuery != "" || u.Fragment != "" {
		return fail("want sftp://user@host:port/folder and nothing after it")
	}
	if dir := path.Clean(u.Path); dir == "/" || !path.IsAbs(dir) {
		return fail("the URL names no folder (want sftp://host/absolute/path)")
	}
	name := u.User.Username()
	if name == "" {
		name = opts.SSH.User
	}
	if name == "" {
		self, err := user.Current()
		if err != nil {
			return fail("%w (REPO_USER names whom to log in as)", err)
		}
		name = self.Username
	}
	port := u.Port()
	if port == "" {
		port = "22"
	}
	address := net.JoinHostPort(u.Hostname(), port)
	config, err := sshConfig(name, address, opts.SSH)
	if err != nil {
		return fail("%w", err)
	}
	shown := url.URL{Scheme: "sftp", User: u.User, Host: u.Host, Path: path.Clean(u.Path)}
	return &sftpRepo{
		url: shown.String(), address: address, dir: path.Clean(u.Path), create: opts.Create, config: config,
		tries: sshTries, wait: sshWait, lease: leaseTime,
		dirty: make(map[string]bool), updating: make(chan struct{}, 1), copying: make(chan struct{}, 1),
	}, nil
}

func (s *sftpRepo) String() string { return s.url }

// full returns the path on the server.
func (s *sftpRepo) full(name string) string { return path.Join(s.dir, name) }

func (s *sftpRepo) checkName(name string) error {
	if !fs.ValidPath(name) {
		return fmt.Errorf("rpc-repo %s: path %q: want a clean relative path", s, name)
	}
	return nil
}

func (s *sftpRepo) Get(ctx context.Context, name string) (io.ReadCloser, int64, error) {
	b, err := s.openBody(ctx, name)
	if err != nil {
		return nil, 0, err
	}
	return b, b.size, nil
}

func (s *sftpRepo) GetRange(ctx context.Context, name string, offset, size int64) (io.ReadCloser, error) {
	b, err := s.openBody(ctx, name)
	if err != nil {
		return nil, err
	}
	b.end = min(offset+size, b.size)
	b.offset = min(offset, b.end)
	return b, nil
}

func (s *sftpRepo) openBody(ctx context.Context, name string) (*sftpBody, error) {
	if err := s.checkName(name); err != nil {
		return nil, err
	}
	b := &sftpBody{sftpRepo: s, ctx: ctx, name: name}
	if err := s.do(ctx, func(c *sftp.Client) error { return b.open(c) }); err != nil {
		return nil, fmt.Errorf("rpc-repo %s: %s: %w", s, name, err)
	}
	b.end = b.size
	return b, nil
}

// GetChanged takes size and time for a tag, as a web server does: SFTP tells no more. Replace sees to
// it that the time moves.
func (s *sftpRepo) GetChanged(ctx context.Context, name, tag string) (io.ReadCloser, string, error) {
	b, err := s.openBody(ctx, name)
	if err != nil {
		return nil, "", err
	}
	newTag := fmt.Sprintf("%d-%d", b.size, b.time.Unix())
	if newTag == tag {
		return nil, "", errors.Join(fmt.Errorf("rpc-repo %s: %s: %w", s, name, ErrNotChanged), b.Close())
	}
	return b, newTag, nil
}

func (s *sftpRepo) Stat(ctx context.Context, name string) (int64, error) {
	if err := s.checkName(name); err != nil {
		return 0, err
	}
	var size int64
	err := s.do(ctx, func(c *sftp.Client) error {
		fi, err := c.Stat(s.full(name))
		if err == nil && !fi.Mode().IsRegular() {
			err = fmt.Errorf("not a file: %w", fs.ErrNotExist)
		}
		if err == nil {
			size = fi.Size()
		}
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("rpc-repo %s: %s: %w", s, name, err)
	}
	return size, nil
}

func (s *sftpRepo) List(ctx context.Context, dir string, fn func(FileInfo) error) error {
	if err := s.checkName(dir); err != nil {
		return err
	}
	var entries []fs.FileInfo
	err := s.do(ctx, func(c *sftp.Client) (err error) {
		entries, err = c.ReadDirContext(ctx, s.full(dir))
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it went meanwhile, or never was
	}
	if err != nil {
		return fmt.Errorf("list %s of rpc-repo %s: %w", dir, s, err)
	}
	for _, fi := range entries {
		name := path.Join(dir, fi.Name())
		switch {
		case fi.IsDir() && !strings.Contains(fi.Name(), "/"):
			err = s.List(ctx, name, fn)
		case fi.Mode().IsRegular():
			err = fn(FileInfo{Path: name, Size: fi.Size(), Time: fi.ModTime()})
		}
		if err != nil {
			return err
		}
	}
	return nil
}
