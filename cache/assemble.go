package cache

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/rcbops/rpcbuild/store"
)

const (
	// Small files go into the store in batches: so much comes again after a kill.
	adoptBytes = 64 << 20
	adoptFiles = 4096
)

// A source gives a stream part by part: chunks, or ranges of a file.
type source struct {
	sizes []int64 // of the parts, in order, in bytes
	// get returns a part. It is called for several at a time.
	get func(ctx context.Context, part int) ([]byte, error)
}

// fetchStream brings those files of an artifact's stream into st that it lacks.
func (r *Repo) fetchStream(ctx context.Context, id store.ArtifactID, blobs []store.Blob, st *store.Store, tell func(int64)) error {
	if !slices.ContainsFunc(blobs, func(b store.Blob) bool { return !st.HasBlob(b) }) {
		return nil
	}
	c, err := r.content(ctx, id, blobs)
	if err != nil {
		return err
	}
	err = r.assemble(ctx, st, id.String(), blobs, c, func() source {
		return source{c.sizes(), func(ctx context.Context, i int) ([]byte, error) { return r.findChunk(ctx, c[i], st, tell) }}
	})
	var differs *store.DigestError
	if errors.As(err, &differs) {
		return r.wrong(contentPath(id), err)
	}
	return err
}

// errBegun says that the first bytes of a file, which another process left, were wrong. They are gone.
var errBegun = errors.New("the first bytes of a file were wrong")

// assemble brings blobs, of which a stream consists that was cut as c says, into st. The parts that plan gives
// come side by side and are put together in their order. How the stream was cut is remembered under name.
func (r *Repo) assemble(ctx context.Context, st *store.Store, name string, blobs []store.Blob, c content, plan func() source) error {
	if c.size() >= largeFile {
		// One after the other: what the next one shares with this one is then here. Its parts come side by
		// side anyway.
		r.pieces.turn.Lock()
		defer r.pieces.turn.Unlock()
	}
	err := r.assembleOnce(ctx, st, blobs, plan())
	if errors.Is(err, errBegun) {
		err = r.assembleOnce(ctx, st, blobs, plan())
	}
	if err == nil {
		r.pieces.learn(st, name, blobs, c)
	}
	return err
}

func (r *Repo) assembleOnce(ctx context.Context, st *store.Store, blobs []store.Blob, s source) (err error) {
	a := &assembly{store: st}
	for _, b := range blobs {
		a.files = append(a.files, &part{blob: b, have: st.HasBlob(b)})
	}
	defer func() { err = errors.Join(err, a.close()) }()
	if err := a.begin(); err != nil {
		return err
	}
	if err := r.feed(ctx, s, a); err != nil {
		return err
	}
	return a.adopt()
}

// arrival is a part that came; nil if it was not wanted.
type arrival struct {
	raw []byte
	err error
}

// feed gives an assembly the parts of a stream, as far as it wants them.
func (r *Repo) feed(ctx context.Context, s source, a *assembly) error {
	ctx, cancel := context.WithCancel(ctx)
	coming := make(chan chan arrival, r.opts.Jobs) // in order
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer close(coming)
		var offset int64
		for i, size := range s.sizes {
			p := make(chan arrival, 1)
			if a.wants(offset, size) {
				go func() {
					raw, err := s.get(ctx, i)
					p <- arrival{raw, err}
				}()
			} else {
				p <- arrival{}
			}
			offset += size
			select {
			case coming <- p:
			case <-ctx.Done():
				return
			}
		}
	}()
	defer func() { cancel(); <-done }()
	var offset int64
	for _, size := range s.sizes {
		p, ok := <-coming
		if !ok {
			return ctx.Err()
		}
		got := <-p
		if got.err != nil {
			return got.err
		}
		if got.raw != nil {
			if err := a.write(offset, got.raw); err != nil {
				return err
			}
		}
		offset += size
	}
	return nil
}

// findChunk returns a chunk: of what the store has, or else from rpc-repo.
func (r *Repo) findChunk(ctx context.Context, chunk store.Blob, st *store.Store, tell func(int64)) ([]byte, error) {
	if raw := r.pieces.read(st, chunk); raw != nil {
		return raw, nil
	}
	raw, came, err := r.chunk(ctx, chunk)
	if err == nil {
		tell(came)
	}
	return raw, err
}

// An assembly puts the files of a stream together. It is for one goroutine, but for wants.
type assembly struct {
	store *store.Store
	files []*part
	dir   string           // of small files
	done  []store.Verified // files that are whole
	bytes int64            // of them
}

// part is one file of a stream.
type part struct {
	blob  store.Blob
	start int64 // its place in the stream
	have  bool  // the store has it

	file   *os.File
	hash   hash.Hash
	n      int64 // bytes that file has
	begun  int64 // of those, from another process
	unlock func()
}

// begin finds the places of the files, and what other processes left of large ones.
func (a *assembly) begin() (err error) {
	if a.dir, err = a.store.TempDir("pull"); err != nil {
		return err
	}
	var offset int64
	for _, f := range a.files {
		f.start = offset
		offset += f.blob.Size
		if f.have || f.blob.Size < largeFile {
			continue
		}
		var ok bool
		if f.unlock, ok, err = a.store.TryLockBlob(f.blob); err != nil {
			return err
		}
		if ok { // else another process fetches it, too: this one does not wait, and fetches its own
			if err := f.resume(a.store.PartialPath(f.blob)); err != nil {
				return err
			}
		}
	}
	return nil
}

// resume goes on with the first bytes of a file.
func (f *part) resume(name string) (err error) {
	if f.file, err = os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644); err != nil {
		return err
	}
	f.hash = digest.SHA256.Hash()
	if f.begun, err = io.Copy(f.hash, io.LimitReader(f.file, f.blob.Size)); err != nil {
		return err
	}
	f.n = f.begun
	return f.file.Truncate(f.n)
}

// wants reports whether bytes of the stream are missing. It may be asked while others are written.
func (a *assembly) wants(offset, size int64) bool {
	for _, f := range a.files[a.at(offset):] {
		if f.start >= offset+size {
			break
		}
		if !f.have && f.start+f.begun < offset+size {
			return true
		}
	}
	return false
}

// at returns the number of the file that holds the byte at offset.
func (a *assembly) at(offset int64) int {
	lo, hi := 0, len(a.files)
	for lo < hi {
		mid := (lo + hi) / 2
		if a.files[mid].start+a.files[mid].blob.Size <= offset {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo
}

// write takes the bytes of the stream at offset.
func (a *assembly) write(offset int64, raw []byte) error {
	for _, f := range a.files[a.at(offset):] {
		if f.start >= offset+int64(len(raw)) {
			return nil
		}
		if f.have {
			continue
		}
		from := max(f.start+f.n, offset)
		to := min(f.start+f.blob.Size, offset+int64(len(raw)))
		if from >= to {
			continue
		}
		if err := a.writeFile(f, raw[from-offset:to-offset]); err != nil {
			return err
		}
	}
	return nil
}

func (a *assembly) writeFile(f *part, b []byte) (err error) {
	if f.file == nil {
		if f.file, err = os.Create(filepath.Join(a.dir, f.blob.Digest.Encoded())); err != nil {
			return err
		}
		f.hash = digest.SHA256.Hash()
	}
	f.hash.Write(b)
	if _, err := f.file.WriteAt(b, f.n); err != nil {
		return fmt.Errorf("write file of an artifact: %w", err)
	}
	if f.n += int64(len(b)); f.n < f.blob.Size {
		return nil
	}
	return a.whole(f)
}

// whole verifies a file that is whole now.
func (a *assembly) whole(f *part) error {
	name := f.file.Name()
	if err := f.file.Close(); err != nil {
		return err
	}
	f.file = nil
	if got := digest.NewDigest(digest.SHA256, f.hash); got != f.blob.Digest {
		err := os.Remove(name)
		if f.begun > 0 {
			return errors.Join(errBegun, err)
		}
		return errors.Join(&store.DigestError{What: "a file of it", Want: f.blob, Got: store.Blob{Digest: got, Size: f.n}}, err)
	}
	f.have, f.hash = true, nil
	a.done = append(a.done, store.Verified{Path: name, Blob: f.blob})
	a.bytes += f.blob.Size
	if a.bytes >= adoptBytes || len(a.done) >= adoptFiles {
		return a.adopt()
	}
	return nil
}

// adopt moves the files that are whole into the store.
func (a *assembly) adopt() error {
	// Where the process before wrote all of a file and did not live to adopt it, no chunk is wanted for
	// it.
	for _, f := range a.files {
		if !f.have && f.file != nil && f.n == f.blob.Size {
			if err := a.whole(f); err != nil {
				return err
			}
		}
	}
	err := a.store.Adopt(a.done)
	a.done, a.bytes = nil, 0
	return err
}

// close lets go of files and locks. What came of a large file stays for the next process.
func (a *assembly) close() error {
	var errs []error
	for _, f := range a.files {
		if f.file != nil {
			errs = append(errs, f.file.Close())
		}
		if f.unlock != nil {
			f.unlock()
		}
	}
	if a.dir != "" {
		errs = append(errs, os.RemoveAll(a.dir))
	}
	return errors.Join(errs...)
}
