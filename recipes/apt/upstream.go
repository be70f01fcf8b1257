package apt

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"path/filepath"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/rcbops/rpcbuild/derive/download"
	"github.com/rcbops/rpcbuild/recipes/spec"
	"github.com/rcbops/rpcbuild/store"
)

// An upstream is one mirror while it is resolved.
type upstream struct {
	*Resolver
	name   string
	mirror Mirror
	old    *MirrorLock // nil if there is none
	move   bool        // whether to look for something newer than old

	url     string // of the suite
	release *release
	list    []candidate
	lock    *MirrorLock
}

// fits reports whether there is a lock and it was made for the same definition.
func (u *upstream) fits() bool { return u.old != nil && u.old.difference(u.lock) == "" }

// open reads and verifies the release file.
func (u *upstream) open(ctx context.Context) error {
	file := filepath.Join(u.RecipesDir, filepath.FromSlash(u.mirror.Keyring))
	k, err := readKeyring(u.mirror.Keyring, file)
	if errors.Is(err, fs.ErrNotExist) {
		return &spec.Error{Path: "$.apt.mirrors." + u.name + ".keyring", Msg: "there is no keyring " + file,
			Hint: "put the public keys that may sign the suite there"}
	}
	if err != nil {
		return err
	}
	archive, err := u.Archive(u.mirror)
	if err != nil {
		return err
	}
	u.url = archive + "/dists/" + escapePath(u.mirror.Suite)
	u.lock.Keyring = k.text
	signed, text, err := u.readRelease(ctx, k)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(signed)
	u.lock.InRelease = hex.EncodeToString(sum[:])
	if u.release, err = parseRelease(text); err != nil {
		return err
	}
	u.lock.Date = u.release.date
	return nil
}

// readRelease returns the verified release file, and the bytes that stand for the state of the
// suite: InRelease, or, where an archive has none, Release, whose signature lies beside it.
func (u *upstream) readRelease(ctx context.Context, k *keyring) (signed, text []byte, err error) {
	at := u.url + "/InRelease"
	signed, _, err = u.Client.Get(ctx, at, releaseLimit, nil)
	var status *download.StatusError
	switch {
	case errors.As(err, &status) && status.Code == http.StatusNotFound:
		text, err = u.readDetached(ctx, k)
		return text, text, err
	case err != nil:
		return nil, nil, err
	}
	if text, u.lock.SignedBy, err = k.clearsigned(signed, u.Now()); err != nil {
		return nil, nil, &SignatureError{at, err}
	}
	return signed, text, nil
}

func (u *upstream) readDetached(ctx context.Context, k *keyring) ([]byte, error) {
	at := u.url + "/Release"
	text, _, err := u.Client.Get(ctx, at, releaseLimit, nil)
	if err != nil {
		return nil, fmt.Errorf("%w (is there a suite %s?)", err, u.mirror.Suite)
	}
	signature, _, err := u.Client.Get(ctx, at+".gpg", releaseLimit, nil)
	if err != nil {
		return nil, err
	}
	if u.lock.SignedBy, err = k.detached(text, signature, u.Now()); err != nil {
		return nil, &SignatureError{at, err}
	}
	return text, nil
}

// read reads the indexes, side by side.
func (u *upstream) read(ctx context.Context) error {
	files, err := u.release.indexes(u.mirror.Components, u.lock.Architectures)
	if err != nil {
		return err
	}
	lists := make([][]candidate, len(files))
	g, ctx := errgroup.WithContext(ctx)
	for i, f := range files {
		g.Go(func() error {
			packed, err := u.fetch(ctx, f)
			if err != nil {
				return err
			}
			content, err := unpack(f.name, packed)
			if err == nil {
				lists[i], err = parseIndex(content)
			}
			if err != nil {
				return fmt.Errorf("read %s/%s: %w", u.url, f.name, err)
			}
			return nil
		})
	}
	err = g.Wait()
	u.list = slices.Concat(lists...)
	return err
}

// fetch returns an index as it is upstream, verified. By its hash it can be had also while the
// archive is being updated; an archive that says that it has those may lack some.
func (u *upstream) fetch(ctx context.Context, f indexFile) ([]byte, error) {
	urls := []string{u.url + "/" + escapePath(f.name)}
	if u.release.byHash {
		dir := u.url + "/" + escapePath(path.Dir(f.name))
		urls = slices.Insert(urls, 0, dir+"/by-hash/SHA256/"+f.blob.Digest.Encoded())
	}
	var content []byte
	var err error
	for _, at := range urls {
		if content, _, err = u.Client.Get(ctx, at, f.blob.Size, nil); err != nil {
			continue
		}
		if got := store.HashBlob(content); got != f.blob {
			err = &store.DigestError{What: at, Want: f.blob, Got: got}
			continue
		}
		return content, nil
	}
	return nil, err
}
