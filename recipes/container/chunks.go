package container

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"
	"github.com/restic/chunker"
)

// How a root file system is cut. Borders depend on the content near them only, so that two trees
// that share files share most chunks. Smaller chunks share more, and compress worse: with about
// 4 MiB, xz gives 3 to 5 % more than in one piece.
const (
	chunkPolynomial = chunker.Pol(0x3DA3358B4DC173)
	chunkMin        = 1 << 20
	chunkMax        = 16 << 20
	chunkBits       = 22 // on average 4 MiB, as a power of two
)

// ChunksFile is the name of an image's chunk index in its artifact. It is not published.
const ChunksFile = "chunks.json"

// chunkIndex says where in a compressed file each chunk of the raw one is.
type chunkIndex struct {
	// Compressor is what compressed them: another one gives other bytes.
	Compressor string  `json:"compressor"`
	File       string  `json:"file"` // in the same artifact
	Chunks     []chunk `json:"chunks"`
}

// A chunk is one piece of a root file system, and one xz stream of the compressed file.
type chunk struct {
	Raw    digest.Digest `json:"raw"`
	Offset int64         `json:"offset"` // of the stream
	Size   int64         `json:"size"`   // of the stream
}

// readChunkIndex reads the index of an image's artifact.
func readChunkIndex(dir string) (*chunkIndex, error) {
	b, err := os.ReadFile(filepath.Join(dir, ChunksFile))
	if err != nil {
		return nil, fmt.Errorf("read chunk index: %w", err)
	}
	var x chunkIndex
	if err := json.Unmarshal(b, &x); err != nil {
		return nil, fmt.Errorf("read chunk index: %w", err)
	}
	if !filepath.IsLocal(x.File) {
		return nil, fmt.Errorf("read chunk index: file %q is not in the artifact", x.File)
	}
	return &x, nil
}

// byRaw returns the chunks by what they hold.
func (x *chunkIndex) byRaw() map[digest.Digest]chunk {
	m := make(map[digest.Digest]chunk, len(x.Chunks))
	for _, c := range x.Chunks {
		m[c.Raw] = c
	}
	return m
}

// cut reads a raw file and returns the digests of its chunks in order, and of the whole. Each chunk
// that is not known is written once, to the folder dir, in a file named by the digest's digits.
func cut(raw io.Reader, dir string, known map[digest.Digest]chunk) ([]digest.Digest, digest.Digest, error) {
	whole := digest.SHA256.Digester()
	c := chunker.NewWithBoundaries(io.TeeReader(raw, whole.Hash()), chunkPolynomial, chunkMin, chunkMax)
	c.SetAverageBits(chunkBits)
	buffer := make([]byte, chunkMax)
	var digests []digest.Digest
	written := make(map[digest.Digest]bool)
	for {
		piece, err := c.Next(buffer)
		if err == io.EOF {
			return digests, whole.Digest(), nil
		}
		if err != nil {
			return nil, "", fmt.Errorf("cut into chunks: %w", err)
		}
		d := digest.FromBytes(piece.Data)
		digests = append(digests, d)
		if _, ok := known[d]; ok || written[d] {
			continue
		}
		written[d] = true
		if err := os.WriteFile(filepath.Join(dir, d.Encoded()), piece.Data, 0o644); err != nil {
			return nil, "", fmt.Errorf("cut into chunks: %w", err)
		}
	}
}

// joiner puts streams together to one compressed file.
type joiner struct {
	out    io.Writer
	dir    string // of streams that were made now
	like   *os.File
	known  map[digest.Digest]chunk // of like
	offset int64
}

// join writes the streams of the chunks in order, and returns where each is.
func (j *joiner) join(digests []digest.Digest) ([]chunk, error) {
	chunks := make([]chunk, 0, len(digests))
	for _, d := range digests {
		n, err := j.copy(d)
		if err != nil {
			return nil, fmt.Errorf("join chunk %s: %w", d.Encoded()[:12], err)
		}
		chunks = append(chunks, chunk{Raw: d, Offset: j.offset, Size: n})
		j.offset += n
	}
	return chunks, nil
}

// xzHeader starts every xz stream.
var xzHeader = []byte("\xfd7zXZ\x00")

// copy writes one stream: the one of like, or the one that was made now.
func (j *joiner) copy(d digest.Digest) (int64, error) {
	if c, ok := j.known[d]; ok {
		stream := io.NewSectionReader(j.like, c.Offset, c.Size)
		header := make([]byte, len(xzHeader))
		if _, err := stream.ReadAt(header, 0); err != nil || !bytes.Equal(header, xzHeader) {
			return 0, errors.New("no xz stream where the other image's chunk index says")
		}
		n, err := io.Copy(j.out, stream)
		if err == nil && n != c.Size {
			err = io.ErrUnexpectedEOF
		}
		return n, err
	}
	f, err := os.Open(filepath.Join(j.dir, d.Encoded()+".xz"))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	return io.Copy(j.out, f)
}
