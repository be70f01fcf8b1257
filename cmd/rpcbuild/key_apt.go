package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"

	"github.com/rcbops/rpcbuild/cache"
	"github.com/rcbops/rpcbuild/cache/openpgp"
	"github.com/rcbops/rpcbuild/recipes"
)

// keyOptions name the OpenPGP key that signs apt repositories, for apt. (What rpcbuild itself trusts is
// signed by another one: see signing.go.) Its public part goes into the lock when that
// is made, and from there into the images; its private part is needed to push.
type keyOptions struct{ private, public string }

func (o *keyOptions) flags(flags *pflag.FlagSet, locks bool) {
	flags.StringVar(&o.private, "gpg-private", "", "`file` with the key that signs apt repositories (default: one that is made once)")
	if locks {
		flags.StringVar(&o.public, "gpg-public", "", "`file` with its public part, where the private one is not at hand")
	}
}

// signingKey returns a function that gives the armored public key for a new lock. Where no key is
// named, it makes one, once, in the user's configuration.
func (a *app) signingKey(o keyOptions) func() (string, error) {
	return func() (string, error) {
		if o.public != "" {
			return readPublicKey(o.public)
		}
		key, err := a.loadKey(o)
		if errors.Is(err, fs.ErrNotExist) && o.private == "" {
			key, err = a.makeKey()
		}
		if err != nil {
			return "", err
		}
		public, err := key.Public()
		return string(public), err
	}
}

func (a *app) aptKeyFile() string { return filepath.Join(a.configDir(), "apt-signing.asc") }

func (a *app) loadKey(o keyOptions) (*openpgp.Key, error) {
	if o.private != "" {
		return openpgp.LoadKey(o.private)
	}
	return openpgp.LoadKey(a.aptKeyFile())
}

func (a *app) makeKey() (*openpgp.Key, error) {
	if err := os.MkdirAll(a.configDir(), 0o700); err != nil {
		return nil, fmt.Errorf("make signing key: %w", err)
	}
	key, err := openpgp.GenerateKey(a.aptKeyFile(), "rpc-repo signing key")
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(a.err, "made the key %s that signs apt repositories: %s (keep a copy; --gpg-private names another)\n",
		key.Fingerprint(), a.aptKeyFile())
	return key, nil
}

func readPublicKey(file string) (string, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("read public key: %w", err)
	}
	if !strings.HasPrefix(string(content), "-----BEGIN PGP PUBLIC KEY BLOCK-----") {
		return "", fmt.Errorf("read public key %s: it is not an armored public key (gpg --armor --export writes one)", file)
	}
	return string(content), nil
}

// signer returns what signs the repositories of a release that has a lock. Where the key of the lock
// is not at hand, using it is the error: a push that signs nothing needs no key.
func (a *app) signer(o keyOptions, lock *recipes.Lock) cache.Signer {
	key, err := a.loadKey(o)
	if err != nil {
		return absentKey{fmt.Errorf("%w (--gpg-private names the file)", err)}
	}
	inLock := []byte(lock.SigningKey)
	merged, err := key.Keyring(inLock)
	if err != nil {
		return absentKey{fmt.Errorf("the lock's signing key: %w", err)}
	}
	if !bytes.Equal(merged, inLock) {
		return absentKey{fmt.Errorf("key %s is not the one that the lock names, which clients will trust (--gpg-private names the right one)", key.Fingerprint())}
	}
	return key
}

// absentKey is a [cache.Signer] that says why it cannot sign.
type absentKey struct{ err error }

func (k absentKey) Keyring([]byte) ([]byte, error)       { return nil, k.err }
func (k absentKey) ClearSign([]byte) ([]byte, error)     { return nil, k.err }
func (k absentKey) DetachSign([]byte) ([]byte, error)    { return nil, k.err }
func (k absentKey) Verify(text, clear, det []byte) error { return k.err }
