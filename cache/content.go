package cache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"github.com/rcbops/rpcbuild/store"
)

// What of an artifact is not published is kept as one stream: its files' bytes, each content once, in
// the manifest's order. The stream is cut into chunks where its content says so, and a chunk is a file
// that is named by its raw bytes. So a thousand small files are a few requests, and two root file
// systems that differ in one package share all other chunks.

// streamed returns the content of the stream of an artifact, in order. It follows from the manifest
// alone.
func streamed(m *store.Manifest) []store.Blob {
	seen := make(map[string]bool, len(m.Publish))
	for _, p := range m.Publish {
		if e, ok := m.Lookup(p.File); ok {
			seen[e.Digest.String()] = true
		}
	}
	var list []store.Blob
	for _, e := range m.Entries {
		if e.HasContent() && e.Size > 0 && !seen[e.Digest.String()] {
			seen[e.Digest.String()] = true
			list = append(list, e.Blob())
		}
	}
	return list
}

// published returns the content that an artifact publishes, each once.
func published(m *store.Manifest) []store.Blob {
	seen := make(map[string]bool, len(m.Publish))
	var list []store.Blob
	for _, p := range m.Publish {
		if e, ok := m.Lookup(p.File); ok && !seen[e.Digest.String()] {
			seen[e.Digest.String()] = true
			list = append(list, e.Blob())
		}
	}
	return list
}

// large returns the published content of an artifact that is cut.
func large(m *store.Manifest) []store.Blob {
	return slices.DeleteFunc(published(m), func(b store.Blob) bool { return b.Size < largeFile })
}

// A content says how an artifact's stream was cut: its chunks, in order; or published content: its pieces.
// Its text form is one "sha256 size" a line, of raw bytes. It is a hint: chunks are verified by their
// names, and what they give by the manifest.
type content []store.Blob

func (c content) encode() []byte {
	var b bytes.Buffer
	for _, chunk := range c {
		fmt.Fprintf(&b, "%s %d\n", chunk.Digest.Encoded(), chunk.Size)
	}
	return b.Bytes()
}

func parseContent(b []byte) (content, error) {
	c := make(content, 0, bytes.Count(b, []byte("\n")))
	for len(b) > 0 {
		end := bytes.IndexByte(b, '\n')
		if end < 0 {
			return nil, fmt.Errorf("parse content: line %d has no end", len(c)+1)
		}
		line := string(b[:end])
		b = b[end+1:]
		sha256, size, _ := strings.Cut(line, " ")
		n, err := strconv.ParseInt(size, 10, 64)
		if err != nil || n < 1 || n > chunkMax || strconv.FormatInt(n, 10) != size {
			return nil, fmt.Errorf("parse content: line %d: size %q: want a number of at most %d", len(c)+1, size, chunkMax)
		}
		chunk, err := store.ParseBlob(sha256, n)
		if err != nil {
			return nil, fmt.Errorf("parse content: line %d: %w", len(c)+1, err)
		}
		c = append(c, chunk)
	}
	return c, nil
}

// size returns the length of the stream in bytes.
func (c content) size() int64 {
	var n int64
	for _, chunk := range c {
		n += chunk.Size
	}
	return n
}

// sizes returns the lengths of the chunks.
func (c content) sizes() []int64 {
	sizes := make([]int64, len(c))
	for i, chunk := range c {
		sizes[i] = chunk.Size
	}
	return sizes
}

// content returns how the stream of an artifact, which holds blobs, was cut.
func (r *Repo) content(ctx context.Context, id store.ArtifactID, blobs []store.Blob) (content, error) {
	path := contentPath(id)
	b, err := r.small(ctx, path, contentLimit, id)
	if err != nil {
		return nil, r.missing("content of artifact "+id.String(), err)
	}
	c, err := parseContent(b)
	if err == nil && c.size() != content(blobs).size() {
		err = fmt.Errorf("its chunks have %d bytes, and the artifact's files %d", c.size(), content(blobs).size())
	}
	if err != nil {
		return nil, r.wrong(path, err)
	}
	return c, nil
}

// chunk reads a chunk, verified, and returns how many bytes came over for it.
func (r *Repo) chunk(ctx context.Context, want store.Blob) (raw []byte, came int64, err error) {
	path := chunkPath(want.Digest)
	err = r.transfer(ctx, func() error {
		packed, err := r.read(ctx, path, chunkLimit)
		if errors.Is(err, fs.ErrNotExist) {
			return r.wrong(path, fmt.Errorf("it is missing: %w", store.ErrNotFound))
		}
		if err != nil {
			return err
		}
		came = int64(len(packed))
		if raw, err = unpackChunk(packed, want.Size); err != nil {
			return r.wrong(path, err)
		}
		if got := store.HashBlob(raw); got != want {
			return r.wrong(path, &store.DigestError{What: "content", Want: want, Got: got})
		}
		return nil
	})
	return raw, came, err
}
