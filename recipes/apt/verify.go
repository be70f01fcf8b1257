package apt

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	pgperrors "github.com/ProtonMail/go-crypto/openpgp/errors"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// aptly's verifier is not used: it prints to standard output, wants its keyrings as files, and
// accepts a signature that it has no key for beside one that it has without saying which was good.

// A SignatureError says that a file is not signed by whom it should be.
type SignatureError struct {
	URL string
	Err error
}

func (e *SignatureError) Error() string { return fmt.Sprintf("verify %s: %v", e.URL, e.Err) }

// Unwrap returns what is wrong with the signature.
func (e *SignatureError) Unwrap() error { return e.Err }

// A keyring is the public keys that may sign a mirror.
type keyring struct {
	name string
	text string // armored
	keys openpgp.EntityList
}

// readKeyring reads a file of public keys, in one or more armored blocks, or binary.
func readKeyring(name, file string) (*keyring, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read keyring: %w", err)
	}
	k := &keyring{name: name, text: string(content)}
	if !strings.Contains(k.text, "-----BEGIN PGP") {
		if k.keys, err = openpgp.ReadKeyRing(bytes.NewReader(content)); err == nil {
			k.text, err = armored(content)
		}
	} else {
		k.keys, err = readArmored(content)
	}
	if err == nil && len(k.keys) == 0 {
		err = errors.New("no public key in it")
	}
	if err != nil {
		return nil, fmt.Errorf("read keyring %s: %w", file, err)
	}
	return k, nil
}

func readArmored(content []byte) (openpgp.EntityList, error) {
	var keys openpgp.EntityList
	r := bufio.NewReader(bytes.NewReader(content))
	for {
		block, err := armor.Decode(r)
		if err == io.EOF {
			return keys, nil
		}
		if err != nil {
			return nil, err
		}
		if block.Type != openpgp.PublicKeyType {
			return nil, fmt.Errorf("it holds a %s, want only public keys", block.Type)
		}
		list, err := openpgp.ReadKeyRing(block.Body)
		if err != nil {
			return nil, err
		}
		keys = append(keys, list...)
	}
}

func armored(content []byte) (string, error) {
	var b strings.Builder
	w, err := armor.Encode(&b, openpgp.PublicKeyType, nil)
	if err != nil {
		return "", err
	}
	if _, err := w.Write(content); err != nil {
		return "", err
	}
	err = w.Close()
	return b.String() + "\n", err
}

// clearsigned returns the text of an InRelease and the fingerprints of the keys that signed it.
func (k *keyring) clearsigned(inRelease []byte, now time.Time) (text []byte, signers []string, err error) {
	block, _ := clearsign.Decode(inRelease)
	if block == nil {
		return nil, nil, errors.New("it is not signed")
	}
	signature, err := io.ReadAll(block.ArmoredSignature.Body)
	if err != nil {
		return nil, nil, fmt.Errorf("read signature: %w", err)
	}
	signers, err = k.verify(block.Bytes, signature, now)
	return block.Plaintext, signers, err
}

// detached returns the fingerprints of the keys that signed text, armored or binary.
func (k *keyring) detached(text, signature []byte, now time.Time) ([]string, error) {
	if bytes.HasPrefix(bytes.TrimSpace(signature), []byte("-----BEGIN")) {
		block, err := armor.Decode(bytes.NewReader(signature))
		if err != nil {
			return nil, fmt.Errorf("read signature: %w", err)
		}
		if signature, err = io.ReadAll(block.Body); err != nil {
			return nil, fmt.Errorf("read signature: %w", err)
		}
	}
	return k.verify(text, signature, now)
}

// verify wants a good signature of at least one key of the keyring, and none of them that is bad,
// expired or revoked. Signatures of other keys do not count: an archive signs with its old and its
// new key for years.
func (k *keyring) verify(text, signatures []byte, now time.Time) ([]string, error) {
	var good, unknown []string
	r := packet.NewReader(bytes.NewReader(signatures))
	for {
		p, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("read signature: %w", err)
		}
		sig, ok := p.(*packet.Signature)
		if !ok || sig.IssuerKeyId == nil {
			return nil, errors.New("read signature: it does not name its key")
		}
		fingerprint, err := k.verifyOne(text, sig, now)
		switch {
		case errors.Is(err, pgperrors.ErrUnknownIssuer):
			unknown = append(unknown, fmt.Sprintf("%016X", *sig.IssuerKeyId))
		case err != nil:
			return nil, fmt.Errorf("signature of key %016X, which keyring %s has: %w", *sig.IssuerKeyId, k.name, err)
		default:
			good = append(good, fingerprint)
		}
	}
	if len(good) == 0 && len(unknown) == 0 {
		return nil, errors.New("it is not signed")
	}
	if len(good) == 0 {
		return nil, fmt.Errorf("it is signed by key %s, and keyring %s does not have it (add the key if you trust it)",
			strings.Join(unknown, " and "), k.name)
	}
	slices.Sort(good)
	return slices.Compact(good), nil
}

func (k *keyring) verifyOne(text []byte, sig *packet.Signature, now time.Time) (fingerprint string, err error) {
	var b bytes.Buffer
	if err := sig.Serialize(&b); err != nil {
		return "", err
	}
	config := &packet.Config{Time: func() time.Time { return now }}
	_, signer, err := openpgp.VerifyDetachedSignature(k.keys, bytes.NewReader(text), &b, config)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%X", signer.PrimaryKey.Fingerprint), nil
}
