package main

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"

	"github.com/rcbops/rpcbuild/store/signature"
)

// signingOptions name the key that signs what is said here of builds and of rpc-repo, and the keys
// whose word counts. (apt repositories are signed by another one: see key_apt.go.)
type signingOptions struct {
	file      string
	trust     []string
	threshold int

	unreadable error // why there is no key, though one is named
}

func (o *signingOptions) flags(flags *pflag.FlagSet) {
	flags.StringVar(&o.file, "key", "", "`file` with the key that signs what is built and pushed (default: what key generate made)")
	flags.StringArrayVar(&o.trust, "trust", nil, "public `key` whose signatures count, or a file with it; repeatable (default: everybody's)")
	flags.IntVar(&o.threshold, "trust-threshold", 1, "`number` of trusted keys that must have signed")
}

// signingFile returns the file of the key that signs here.
func (a *app) signingFile() string {
	if a.signing.file != "" {
		return a.signing.file
	}
	return filepath.Join(a.configDir(), "signing.pem")
}

// loadSigning returns the key that signs here and whom to trust: nil where there is none, or where
// nobody is named.
//
// A key that this user may not read is missed by who needs it: see wantKey. The machine's
// configuration may name one, and everybody may verify.
func (a *app) loadSigning() (*signature.Key, *signature.Trust, error) {
	key, err := signature.Load(a.signingFile())
	switch {
	case errors.Is(err, fs.ErrPermission):
		a.signing.unreadable = err
	case errors.Is(err, fs.ErrNotExist) && a.signing.file == "":
	case err != nil:
		return nil, nil, usageErrorf("%w (--key names another; key generate makes one)", err)
	}
	trust, err := a.signing.trusted(key)
	return key, trust, err
}

// trusted returns whom to trust; that is this machine itself, too, if it is anybody.
func (o *signingOptions) trusted(own *signature.Key) (*signature.Trust, error) {
	if len(o.trust) == 0 {
		if o.threshold != 1 {
			return nil, usageErrorf("trust %d keys: none is named (trust in the configuration, or --trust, names them)", o.threshold)
		}
		return nil, nil
	}
	var keys []signature.PublicKey
	for _, t := range o.trust {
		k, err := trustedKey(t)
		if err != nil {
			return nil, usageErrorf("--trust: %w", err)
		}
		keys = append(keys, k)
	}
	if own != nil {
		keys = append(keys, own.Public())
	}
	trust, err := signature.NewTrust(o.threshold, keys...)
	if err != nil {
		return nil, usageError{err}
	}
	return trust, nil
}

// trustedKey reads a public key, or the file that has it.
func trustedKey(text string) (signature.PublicKey, error) {
	if signature.IsPublicKey(text) {
		return signature.ParsePublicKey(text)
	}
	k, err := signature.LoadPublic(text)
	if err != nil {
		err = fmt.Errorf("%w (want ed25519: and a key, or a file that key show --public wrote)", err)
	}
	return k, err
}

// wantKey refuses a key that is named and cannot be read. That there is none is told, to who pushes.
func (s *session) wantKey(push bool) error {
	switch {
	case s.signing.unreadable != nil:
		return fmt.Errorf("%w (--key names another)", s.signing.unreadable)
	case s.key == nil && push:
		fmt.Fprintln(s.err, "rpcbuild: what is built and pushed here is not signed (rpcbuild key generate makes a key)")
	}
	return nil
}

// tellTrust warns where what others serve counts, whoever signed it.
func (s *session) tellTrust() {
	if s.trust != nil {
		return
	}
	var far []string
	for i, url := range s.repoURLs {
		if strings.Contains(url, "://") && !strings.HasPrefix(url, "file://") {
			far = append(far, s.repos[i].String())
		}
	}
	if len(far) > 0 {
		fmt.Fprintf(s.err, "rpcbuild: warning: what %s has counts, whoever signed it (trust in the configuration, or --trust, names whose signatures count)\n",
			strings.Join(far, ", "))
	}
}
