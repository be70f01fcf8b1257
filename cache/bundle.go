package cache

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"

	"github.com/rcbops/rpcbuild/store"
)

// A bundle is many small files of cache/v1 in one, so that they cost one request: a tar, compressed
// with zstd, named by the SHA-256 of that. What it holds is also there file by file, and verified
// as that is; a bundle only saves time.
type bundle map[string][]byte // by path under the web root

// What goes into a bundle. Files that are longer are read one by one.
const (
	bundledLimit = 4 << 20  // a file's bytes
	bundleRaw    = 64 << 20 // a bundle's bytes, unpacked
	bundlePacked = 64 << 20
	unpackWindow = 32 << 20 // the most memory that unpacking may ask for: 4 times what packing uses
)

// makeBundle returns the bundle that holds the files, as far as they are small enough.
func makeBundle(files []smallFile) ([]byte, error) {
	var b bytes.Buffer
	z, err := zstd.NewWriter(&b, zstd.WithEncoderConcurrency(1))
	if err != nil {
		return nil, fmt.Errorf("make bundle: %w", err)
	}
	t := tar.NewWriter(z)
	total := 0
	for _, f := range files {
		if total += len(f.content) + 2<<10; len(f.content) > bundledLimit || total > bundleRaw {
			total -= len(f.content) + 2<<10
			continue
		}
		h := &tar.Header{Typeflag: tar.TypeReg, Name: strings.TrimPrefix(f.path, root), Mode: 0o644, Size: int64(len(f.content))}
		if err := t.WriteHeader(h); err != nil {
			return nil, fmt.Errorf("make bundle: %w", err)
		}
		if _, err := t.Write(f.content); err != nil {
			return nil, fmt.Errorf("make bundle: %w", err)
		}
	}
	if err := errors.Join(t.Close(), z.Close()); err != nil {
		return nil, fmt.Errorf("make bundle: %w", err)
	}
	return b.Bytes(), nil
}

// smallFile is a file of cache/v1 that a bundle may hold.
type smallFile struct {
	path    string
	content []byte
}

func parseBundle(b []byte) (bundle, error) {
	z, err := zstd.NewReader(bytes.NewReader(b), zstd.WithDecoderMaxWindow(unpackWindow), zstd.WithDecoderConcurrency(1))
	if err != nil {
		return nil, fmt.Errorf("parse bundle: %w", err)
	}
	defer z.Close()
	t := tar.NewReader(io.LimitReader(z, bundleRaw+1<<20))
	files := make(bundle)
	for {
		h, err := t.Next()
		if err == io.EOF {
			return files, nil
		}
		if err != nil {
			return nil, fmt.Errorf("parse bundle: %w", err)
		}
		if h.Typeflag != tar.TypeReg || h.Size > bundledLimit || !fs.ValidPath(h.Name) {
			return nil, fmt.Errorf("parse bundle: %q: want a small file", h.Name)
		}
		content, err := io.ReadAll(t)
		if err != nil {
			return nil, fmt.Errorf("parse bundle: %s: %w", h.Name, err)
		}
		files[path.Join(root, h.Name)] = content
	}
}

// A bundleRef names a bundle: the SHA-256 and the size of its file.
type bundleRef = store.Blob

func bundlePath(b bundleRef) string { return root + "bundle/" + b.Digest.Encoded() }

// bundle returns a bundle, which is read once: from rpc-repo, or from the folder of what is known of
// it. With cheap, one that is large and that nobody has read yet is not read: the result is nil.
func (r *Repo) bundle(ctx context.Context, ref bundleRef, cheap bool) (bundle, error) {
	r.bundles.Lock()
	defer r.bundles.Unlock()
	if b, ok := r.bundles.read[ref]; ok {
		return b, nil
	}
	kept := r.kept("bundle", ref.Digest.Encoded())
	content, err := readKept(kept)
	fresh := err != nil || digest.FromBytes(content) != ref.Digest
	if fresh {
		if cheap && ref.Size > bundleCheap {
			return nil, nil
		}
		path := bundlePath(ref)
		if content, err = r.read(ctx, path, ref.Size); err != nil {
			return nil, err
		}
		if got := store.HashBlob(content); got != ref {
			return nil, r.wrong(path, &store.DigestError{What: "content", Want: ref, Got: got})
		}
	}
	b, err := parseBundle(content)
	if err != nil {
		return nil, r.wrong(bundlePath(ref), err)
	}
	if fresh {
		keep(kept, content)
	}
	r.bundles.read[ref] = b
	return b, nil
}

// bundleCheap is the size up to which a bundle is read for one file of it.
const bundleCheap = 256 << 10

// small returns a small file that is about an artifact: from a bundle that holds it, or by itself.
// That a bundle is not there says nothing.
func (r *Repo) small(ctx context.Context, path string, limit int64, id store.ArtifactID) ([]byte, error) {
	if ref, ok := r.held().metadata(id); ok {
		b, err := r.bundle(ctx, ref, true)
		if content, ok := b[path]; ok {
			return content, nil
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	var b []byte
	err := r.transfer(ctx, func() (err error) {
		b, err = r.read(ctx, path, limit)
		return err
	})
	return b, err
}

// kept returns the name of a file in the folder of what is known of this repo, or "".
func (r *Repo) kept(elem ...string) string {
	if r.opts.Dir == "" {
		return ""
	}
	return filepath.Join(append([]string{r.opts.Dir, digest.FromString(r.String()).Encoded()[:16]}, elem...)...)
}

func readKept(name string) ([]byte, error) {
	if name == "" {
		return nil, fs.ErrNotExist
	}
	return os.ReadFile(name)
}
