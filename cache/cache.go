// Package cache is rpc-repo, the artifacts that everybody shares: a tree of plain files behind any
// web server. It pushes a release from a store, pulls it into one, says what is there, and serves
// the tree. It knows no kind of artifact: an artifact's manifest says where it is published.
//
// README.md beside this file describes the layout, the order of a push, and what a crash leaves.
package cache

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"sync"

	"github.com/rcbops/rpcbuild/store"
	"github.com/rcbops/rpcbuild/store/signature"
)

// ErrUnreachable is wrapped by every error that says that rpc-repo did not answer at all: no such
// folder, no connection, or a server that refuses or fails each request.
var ErrUnreachable = errors.New("rpc-repo cannot be reached")

// A WrongError says that rpc-repo holds something that is not what its name promises: other bytes,
// or a file that does not parse. Nothing of it was used.
type WrongError struct {
	Repo string // its URL
	Path string // under the web root
	Err  error
}

func (e *WrongError) Error() string { return fmt.Sprintf("rpc-repo %s: %s: %v", e.Repo, e.Path, e.Err) }

func (e *WrongError) Unwrap() error { return e.Err }

// Options say how a repo is used. The zero value reads.
type Options struct {
	// Create makes the folder of the repo where it is missing. Otherwise a missing folder is
	// [ErrUnreachable].
	Create bool
	// Signer makes the envelopes that artifacts ask for. Without one, pushing such an artifact is
	// an error.
	Signer Signer
	// Key signs what is said of this repo: which generation is the newest, and what a release is made
	// of. nil signs nothing.
	Key *signature.Key
	// Trust says whose statements count; nil counts everybody's. Where too few of those that it names
	// signed something, reading that is a [*signature.UntrustedError].
	Trust *signature.Trust
	// Roots are the certificate authorities to trust for https; nil means the system's.
	Roots *x509.CertPool
	// SSH says how an sftp URL's server is logged in to.
	SSH SSHOptions
	// Jobs is how many transfers run side by side; 0 means 16.
	Jobs int
	// Dir is a folder that keeps what is known of repos between processes, so that asking what is
	// there costs one request, an old answer is known for one, and the chunks of artifacts that came
	// before are found again; empty means none.
	Dir string
}

// defaultJobs hides the round trips of small files without starving other work of memory.
const defaultJobs = 16

// A Repo is rpc-repo, seen through one URL. Its methods are safe for concurrent use.
type Repo struct {
	backend Backend
	opts    Options
	slots   chan struct{} // one a transfer under way

	generations reader
	bundles     struct {
		sync.Mutex
		read map[bundleRef]bundle
	}
	pieces pieces // chunks that the store has

	mu         sync.Mutex
	statements map[hint]store.Statement     // read and checked; what is missing is never remembered
	coming     map[store.Blob]chan struct{} // content that is fetched now; closed when that ends
}

// Open returns the repo at url: see [OpenBackend]. Nothing is asked yet.
func Open(url string, opts Options) (*Repo, error) {
	b, err := OpenBackend(url, opts)
	if err != nil {
		return nil, err
	}
	return newRepo(b, opts), nil
}

func newRepo(b Backend, opts Options) *Repo {
	if opts.Jobs <= 0 {
		opts.Jobs = defaultJobs
	}
	r := &Repo{
		backend: b, opts: opts, slots: make(chan struct{}, opts.Jobs),
		statements: make(map[hint]store.Statement), coming: make(map[store.Blob]chan struct{}),
	}
	r.bundles.read = make(map[bundleRef]bundle)
	if opts.Dir != "" {
		r.pieces.dir = filepath.Join(opts.Dir, "pieces")
	}
	return r
}

// String returns the repo's URL, without a password.
func (r *Repo) String() string { return r.backend.String() }

// Close lets go of connections and files. No method may be running.
func (r *Repo) Close() error { return r.backend.Close() }

// transfer runs fn when one of the places for transfers is free.
func (r *Repo) transfer(ctx context.Context, fn func() error) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case r.slots <- struct{}{}:
		defer func() { <-r.slots }()
		return fn()
	}
}

// read returns a small file whole. One of more than limit bytes is wrong.
func (r *Repo) read(ctx context.Context, path string, limit int64) ([]byte, error) {
	body, size, err := r.backend.Get(ctx, path)
	if err != nil {
		return nil, err
	}
	if size > limit {
		return nil, errors.Join(r.wrong(path, tooLong(limit)), body.Close())
	}
	return r.readAll(body, path, limit)
}

// readAll reads the body of a small file, and closes it.
func (r *Repo) readAll(body io.ReadCloser, path string, limit int64) ([]byte, error) {
	defer body.Close()
	b, err := io.ReadAll(io.LimitReader(body, limit+1))
	if err != nil {
		return nil, fmt.Errorf("read %s of rpc-repo %s: %w", path, r, err)
	}
	if int64(len(b)) > limit {
		return nil, r.wrong(path, tooLong(limit))
	}
	return b, nil
}

func tooLong(limit int64) error { return fmt.Errorf("more than %d bytes", limit) }

func (r *Repo) wrong(path string, err error) error {
	return &WrongError{Repo: r.String(), Path: path, Err: err}
}

// missing turns a backend's "no such file" into the store's [store.ErrNotFound], which tells a
// scheduler to build what it asked for.
func (r *Repo) missing(what string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s in rpc-repo %s: %w", what, r, store.ErrNotFound)
	}
	return err
}
