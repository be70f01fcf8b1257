package cache_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/rcbops/rpcbuild/cache"
)

// Real servers, each on a free port of loopback, with its own configuration in a temporary folder.
// They end with the test, or with the test's process.

// program returns a server's path; also of one that only root has in its PATH, or that make deps-test
// has built.
func program(t *testing.T, name, from string) string {
	t.Helper()
	tools, err := filepath.Abs("../.tools")
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"", tools, "/usr/sbin", "/usr/local/sbin"} {
		if file, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return file
		}
	}
	t.Skipf("%s is missing: %s", name, from)
	return ""
}

// freePort returns an address on which nobody listens.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// A daemon is a server's process.
type daemon struct {
	cmd *exec.Cmd
	end chan struct{}
}

// start starts a server and waits until it listens. Between that its port was found free and that it
// takes it, another may take it, so command is asked for more than one.
func start(t *testing.T, command func(address string) *exec.Cmd) (address string, d *daemon) {
	t.Helper()
	log, err := os.Create(t.TempDir() + "/log")
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	for range 3 {
		address = freePort(t)
		d = &daemon{cmd: command(address), end: make(chan struct{})}
		d.cmd.Stdout, d.cmd.Stderr = log, log // a file: a pipe would stay open as long as a child of the server lives
		d.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if err := d.cmd.Start(); err != nil {
			t.Fatal(err)
		}
		go func() {
			defer close(d.end)
			d.cmd.Wait()
		}()
		t.Cleanup(d.stop)
		if d.listens(address) {
			return address, d
		}
		d.stop()
	}
	t.Fatalf("%s does not start: %s", d.cmd.Path, read(t, log.Name()))
	return "", nil
}

func (d *daemon) listens(address string) bool {
	for range 200 {
		if conn, err := net.Dial("tcp", address); err == nil {
			conn.Close()
			return true
		}
		select {
		case <-d.end:
			return false
		case <-time.After(50 * time.Millisecond):
		}
	}
	return false
}

func (d *daemon) stop() {
	d.cmd.Process.Kill()
	<-d.end
}

func write(t *testing.T, file string, content []byte) string {
	t.Helper()
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// nginx serves a folder over http and https, and returns both URLs and whom to trust for https.
func nginx(t *testing.T, dir string) (plain, secure string, roots *x509.CertPool) {
	t.Helper()
	bin := program(t, "nginx", "apt-get install nginx-light")
	own := t.TempDir()
	cert, authority, err := cache.SelfSigned([]string{"127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	write(t, own+"/key.pem", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}))
	write(t, own+"/cert.pem", authority)
	address, _ := start(t, func(address string) *exec.Cmd {
		secure = freePort(t)
		write(t, own+"/nginx.conf", fmt.Appendf(nil, nginxConf, address, secure, dir))
		return exec.Command(bin, "-p", own, "-c", own+"/nginx.conf", "-e", "stderr")
	})
	roots = x509.NewCertPool()
	roots.AppendCertsFromPEM(authority)
	return "http://" + address, "https://" + secure, roots
}

const nginxConf = `
daemon off;
master_process off;
pid nginx.pid;
error_log stderr warn;
events { worker_connections 256; }
http {
	access_log off;
	client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
	server {
		listen %s;
		listen %s ssl http2;
		ssl_certificate cert.pem;
		ssl_certificate_key key.pem;
		root %s;
	}
}
`

// sshServer is sshd with the folder to write to.
type sshServer struct {
	address string
	dir     string
	options cache.SSHOptions
	daemon  *daemon
}

// url returns the URL of a repo, through another address if one is given.
func (s *sshServer) url(address string) string {
	if address == "" {
		address = s.address
	}
	return "sftp://" + address + s.dir
}

// sshd starts OpenSSH's server, which lets in who runs the test, with a key made for it.
func sshd(t *testing.T) *sshServer {
	t.Helper()
	bin := program(t, "sshd", "apt-get install openssh-server")
	self, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	if self.Uid == "0" { // where sshd locks itself in; a booted machine has it
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
			t.Fatal(err)
		}
	}
	own := t.TempDir()
	login, _ := sshKey(t, own+"/login")
	host, public := sshKey(t, own+"/host")
	s := &sshServer{dir: t.TempDir() + "/repo", options: cache.SSHOptions{
		User: self.Username, KeyFile: login, HostKeyFile: write(t, own+"/known", ssh.MarshalAuthorizedKey(public)),
	}}
	s.address, s.daemon = start(t, func(address string) *exec.Cmd {
		name, port, _ := net.SplitHostPort(address)
		conf := fmt.Appendf(nil, sshdConf, name, port, host, own)
		return exec.Command(bin, "-D", "-e", "-f", write(t, own+"/sshd.conf", conf))
	})
	return s
}

const sshdConf = `
ListenAddress %s
Port %s
HostKey %s
AuthorizedKeysFile %s/login.pub
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
MaxStartups 100
LogLevel ERROR
Subsystem sftp internal-sftp
`

// sshKey makes a key pair as ssh-keygen does.
func sshKey(t *testing.T, file string) (string, ssh.PublicKey) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "test")
	if err != nil {
		t.Fatal(err)
	}
	key, err := ssh.NewPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	write(t, file+".pub", ssh.MarshalAuthorizedKey(key))
	return write(t, file, pem.EncodeToMemory(block)), key
}

// s3Server is versitygw, which keeps buckets as folders.
type s3Server struct {
	address string
	dir     string // of the bucket
}

const s3Key, s3Secret = "test-key", "test-secret-key"

// s3 starts an S3 server with one bucket, and sets the credentials in the environment.
func s3(t *testing.T) *s3Server {
	t.Helper()
	bin := program(t, "versitygw", "make deps-test builds it")
	dir := t.TempDir()
	if err := os.Mkdir(dir+"/bucket", 0o755); err != nil {
		t.Fatal(err)
	}
	address, _ := start(t, func(address string) *exec.Cmd {
		cmd := exec.Command(bin, "--port", address, "--access", s3Key, "--secret", s3Secret, "--quiet", "posix", dir)
		cmd.Dir = t.TempDir()
		return cmd
	})
	t.Setenv("AWS_ACCESS_KEY_ID", s3Key)
	t.Setenv("AWS_SECRET_ACCESS_KEY", s3Secret)
	return &s3Server{address: address, dir: dir + "/bucket"}
}

func (s *s3Server) url(prefix string) string {
	return "s3://bucket/" + prefix + "?endpoint=http://" + s.address + "&region=us-east-1"
}

// A proxy is a TCP connection's way to a server, which breaks when it is told to.
type proxy struct {
	address string

	mu    sync.Mutex
	conns []net.Conn
	limit int // of bytes to the server, after which the connection breaks; 0 for none
}

func newProxy(t *testing.T, to string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{address: l.Addr().String()}
	t.Cleanup(func() { l.Close(); p.cut() })
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", to)
			if err != nil {
				client.Close()
				continue
			}
			p.mu.Lock()
			p.conns = append(p.conns, client, server)
			limit := p.limit
			p.mu.Unlock()
			go pass(server, client, limit)
			go pass(client, server, 0)
		}
	}()
	return p
}

// pass copies one direction, up to limit bytes, and then closes both ends.
func pass(to, from net.Conn, limit int) {
	defer to.Close()
	defer from.Close()
	buf := make([]byte, 32<<10)
	for sent := 0; limit == 0 || sent < limit; {
		n, err := from.Read(buf)
		if n > 0 {
			sent += n
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// breakAfter makes each next connection break after so many bytes; 0 ends that.
func (p *proxy) breakAfter(limit int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.limit = limit
}

// cut breaks all connections.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		c.Close()
	}
	p.conns = nil
}
