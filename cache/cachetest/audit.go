package cachetest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"

	"github.com/rcbops/rpcbuild/cache"
	"github.com/rcbops/rpcbuild/store"
)

// Audit looks at a folder that is an rpc-repo from outside, after whatever became of a push to it, and
// returns all that is not as it must be at any time: what is named for its content has that content, and
// what is published of the artifacts in m, as far as it is there, is whole.
func Audit(dir string, manifests ...*store.Manifest) error {
	a := &audit{dir: dir}
	for _, folder := range []string{"artifact", "blob", "bundle", "derivation", "generation", "history"} {
		a.named(folder, func(content []byte) ([]byte, error) { return content, nil })
	}
	unpack, err := zstd.NewReader(nil)
	if err != nil {
		return err
	}
	defer unpack.Close()
	a.named("chunk", func(content []byte) ([]byte, error) { return unpack.DecodeAll(content, nil) })
	for _, m := range manifests {
		for _, p := range m.Publish {
			a.published(m, p)
		}
	}
	return errors.Join(a.wrong...)
}

type audit struct {
	dir   string
	wrong []error
}

func (a *audit) report(format string, args ...any) {
	a.wrong = append(a.wrong, fmt.Errorf(format, args...))
}

// named looks at files whose name is the SHA-256 of what decode makes of them.
func (a *audit) named(folder string, decode func([]byte) ([]byte, error)) {
	root := filepath.Join(a.dir, "cache", "v1", folder)
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(name)
		if err == nil {
			content, err = decode(content)
		}
		if err != nil {
			a.report("%s: %v", name, err)
		} else if got := digest.FromBytes(content).Encoded(); got != d.Name() {
			a.report("%s: its SHA-256 is %s", name, got)
		}
		return nil
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		a.report("%v", err)
	}
}

// published looks at one consumer's path. A signed file of apt and a link need what they lead to.
func (a *audit) published(m *store.Manifest, p store.Publication) {
	name := filepath.Join(a.dir, filepath.FromSlash(p.Path))
	if _, err := os.Lstat(name); errors.Is(err, fs.ErrNotExist) {
		return
	}
	content, err := os.ReadFile(name) // of a link, what it leads to
	if err != nil {
		a.report("published: %v", err)
		return
	}
	if e, ok := m.Lookup(strings.TrimPrefix(p.File, "./")); ok && digest.FromBytes(content) != e.Digest {
		a.report("published: %s has the SHA-256 %s, want %s", name, digest.FromBytes(content), e.Digest)
	}
}

// Listed reads all that the rpc-repo in dir lists, to the last byte, and items, and returns those that are not
// present. A folder to which nothing was pushed yet lists nothing.
func Listed(ctx context.Context, dir string, items ...cache.Item) (amiss []cache.Verdict, err error) {
	r, err := cache.Open(dir, cache.Options{})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	listed, err := r.Items(ctx)
	if len(items) == 0 && errors.Is(err, cache.ErrUnreachable) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	verdicts, err := r.Check(ctx, append(listed, items...), true)
	return slices.DeleteFunc(verdicts, func(v cache.Verdict) bool { return v.State == cache.Present }), err
}
