package cache

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// A hostKeyError says that a server did not show that it is the one that is meant.
type hostKeyError struct {
	address, file string
	key           ssh.PublicKey
	known         bool // the file has another key of this host
}

func (e *hostKeyError) Error() string {
	what := "is unknown"
	if e.known {
		what = "is not the one that is known: another machine may be answering in its place"
	}
	return fmt.Sprintf("host key of %s: %s %s %s (%s has the key to expect; REPO_HOST_PUBKEY names that file)",
		e.address, e.key.Type(), ssh.FingerprintSHA256(e.key), what, e.file)
}

// sshConfig reads the key files.
func sshConfig(user, address string, opts SSHOptions) (*ssh.ClientConfig, error) {
	if opts.HostKeyFile == "" {
		return nil, errors.New("no host key is known (REPO_HOST_PUBKEY names a file with the server's public key, as ssh-keyscan prints it)")
	}
	if opts.KeyFile == "" {
		return nil, errors.New("no key to log in with (REPO_USER_KEY names the file of a private key)")
	}
	signer, err := readSSHKey(opts.KeyFile)
	if err != nil {
		return nil, err
	}
	check, algorithms, err := readHostKeys(opts.HostKeyFile, address)
	if err != nil {
		return nil, fmt.Errorf("read host key: %w", err)
	}
	return &ssh.ClientConfig{
		User: user, Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)},
		HostKeyCallback: check, HostKeyAlgorithms: algorithms, Timeout: sshConnect,
	}, nil
}

func readSSHKey(file string) (ssh.Signer, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read key: %w (REPO_USER_KEY names it)", err)
	}
	signer, err := ssh.ParsePrivateKey(b)
	var locked *ssh.PassphraseMissingError
	if errors.As(err, &locked) {
		return nil, fmt.Errorf("read key %s: it has a passphrase, which nobody is there to type (ssh-keygen -p removes it)", file)
	}
	if err != nil {
		return nil, fmt.Errorf("read key %s: %w (want a private key as ssh-keygen makes it)", file, err)
	}
	return signer, nil
}

// readHostKeys reads a known_hosts file, or one with public keys alone, which are then those of the
// host. It returns, too, in what algorithms the server is to prove itself: of several keys that a
// server has, it would else show one that may not be in the file.
func readHostKeys(file, address string) (ssh.HostKeyCallback, []string, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, nil, err
	}
	bare, lines, err := bareKeys(file, b)
	if err != nil {
		return nil, nil, err
	}
	if lines == 0 {
		return nil, nil, fmt.Errorf("%s holds no key", file)
	}
	if len(bare) < lines {
		return knownHosts(file, address)
	}
	check := func(_ string, _ net.Addr, key ssh.PublicKey) error {
		same := func(k ssh.PublicKey) bool { return bytes.Equal(k.Marshal(), key.Marshal()) }
		if slices.ContainsFunc(bare, same) {
			return nil
		}
		return &hostKeyError{address: address, file: file, key: key, known: true}
	}
	return check, keyAlgorithms(bare), nil
}

// bareKeys returns the lines of a file that are a public key and nothing before it, and how many
// lines say anything.
func bareKeys(file string, b []byte) (keys []ssh.PublicKey, lines int, err error) {
	for s := bufio.NewScanner(bytes.NewReader(b)); s.Scan(); {
		fields := strings.Fields(s.Text())
		if len(fields) == 0 || fields[0][0] == '#' {
			continue
		}
		lines++
		if len(fields) < 2 {
			return nil, 0, fmt.Errorf("%s: %q is no public key", file, s.Text())
		}
		raw, err := base64.StdEncoding.DecodeString(fields[1])
		if err != nil {
			continue
		}
		if key, err := ssh.ParsePublicKey(raw); err == nil && key.Type() == fields[0] {
			keys = append(keys, key)
		}
	}
	if len(keys) > 0 && len(keys) < lines {
		return nil, 0, fmt.Errorf("%s: want either lines with hosts or public keys alone", file)
	}
	return keys, lines, nil
}

func knownHosts(file, address string) (ssh.HostKeyCallback, []string, error) {
	known, err := knownhosts.New(file)
	if err != nil {
		return nil, nil, err
	}
	check := func(host string, remote net.Addr, key ssh.PublicKey) error {
		err := known(host, remote, key)
		var wrong *knownhosts.KeyError
		if errors.As(err, &wrong) {
			return &hostKeyError{address: address, file: file, key: key, known: len(wrong.Want) > 0}
		}
		return err
	}
	// A key that cannot be there makes the package say which would be right.
	var wrong *knownhosts.KeyError
	var want []ssh.PublicKey
	if errors.As(known(address, &net.TCPAddr{IP: net.IPv4zero}, noKey{}), &wrong) {
		for _, k := range wrong.Want {
			want = append(want, k.Key)
		}
	}
	return check, keyAlgorithms(want), nil
}

// noKey is a public key that no server has.
type noKey struct{}

func (noKey) Type() string                        { return "none" }
func (noKey) Marshal() []byte                     { return nil }
func (noKey) Verify([]byte, *ssh.Signature) error { return errors.New("no key") }

// keyAlgorithms returns the algorithms that prove one of the keys; nil, if there are none.
func keyAlgorithms(keys []ssh.PublicKey) []string {
	var algorithms []string
	for _, k := range keys {
		switch k.Type() {
		case ssh.KeyAlgoRSA:
			algorithms = append(algorithms, ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256)
		default:
			algorithms = append(algorithms, k.Type())
		}
	}
	return algorithms
}

// sshHint adds what a person can do about a login that failed.
func sshHint(err error) error {
	var host *hostKeyError
	switch {
	case errors.As(err, &host):
		return host
	case strings.Contains(err.Error(), "unable to authenticate"):
		return fmt.Errorf("%w (are REPO_USER and REPO_USER_KEY right, and is the key among the user's authorized_keys?)", err)
	}
	return err
}
