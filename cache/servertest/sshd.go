package servertest

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"

	"golang.org/x/crypto/ssh"

	"github.com/rcbops/rpcbuild/cache"
)

// SSHD is OpenSSH's server, with a folder to write to.
type SSHD struct {
	Address string
	Dir     string
	Options cache.SSHOptions // to log in
	daemon  *daemon
}

// URL returns the URL of the repo in the folder, through another address if one is given.
func (s *SSHD) URL(address string) string {
	if address == "" {
		address = s.Address
	}
	return "sftp://" + address + s.Dir
}

// Stop ends the server.
func (s *SSHD) Stop() { s.daemon.stop() }

// StartSSHD starts a server that lets in who runs the test, with a key made for it. dir, which need not
// exist, is what its URL leads to.
func StartSSHD(t T, dir string) *SSHD {
	t.Helper()
	bin := program(t, "sshd", "apt-get install openssh-server")
	self, err := user.Current()
	check(t, err)
	if self.Uid == "0" { // where sshd locks itself in; a booted machine has it
		check(t, os.MkdirAll("/run/sshd", 0o755))
	}
	own := t.TempDir()
	login, _ := NewSSHKey(t, own+"/login")
	host, public := NewSSHKey(t, own+"/host")
	s := &SSHD{Dir: dir, Options: cache.SSHOptions{
		User: self.Username, KeyFile: login, HostKeyFile: write(t, own+"/known", ssh.MarshalAuthorizedKey(public)),
	}}
	s.Address, s.daemon = start(t, func(address string) *exec.Cmd {
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

// NewSSHKey makes a key pair as ssh-keygen does: file and file.pub.
func NewSSHKey(t T, file string) (string, ssh.PublicKey) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	check(t, err)
	block, err := ssh.MarshalPrivateKey(private, "test")
	check(t, err)
	key, err := ssh.NewPublicKey(public)
	check(t, err)
	write(t, file+".pub", ssh.MarshalAuthorizedKey(key))
	return write(t, file, pem.EncodeToMemory(block)), key
}
