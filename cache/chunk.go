package cache

import (
	"errors"
	"fmt"
	"io"
	"sync"

	cdc "github.com/PlakarKorp/go-cdc-chunkers"
	_ "github.com/PlakarKorp/go-cdc-chunkers/chunkers/fastcdc" // the library finds its algorithms by name
	"github.com/klauspost/compress/zstd"
)

// How streams are cut: by FastCDC (Xia et al., USENIX ATC 2016), which finds the same borders in the
// same bytes wherever they lie. Another algorithm or other sizes are not wrong, and share nothing with
// what is there.
const (
	chunkAlgorithm = "fastcdc-v1.0.0"
	chunkMin       = 64 << 10
	chunkNormal    = 256 << 10
	chunkMax       = 1 << 20
	chunkLimit     = chunkMax + chunkMax/8 // of a chunk's file: what does not compress grows a little
)

// cut calls fn with the chunks of a stream. A chunk is valid until fn returns.
func cut(stream io.Reader, fn func([]byte) error) error {
	c, err := cdc.NewChunker(chunkAlgorithm, stream, &cdc.ChunkerOpts{MinSize: chunkMin, NormalSize: chunkNormal, MaxSize: chunkMax})
	if err != nil {
		return fmt.Errorf("cut into chunks: %w", err)
	}
	for {
		chunk, err := c.Next()
		if err != nil && err != io.EOF {
			return err
		}
		if len(chunk) > 0 {
			if err := fn(chunk); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
	}
}

// A packer compresses and unpacks chunks. Both are safe for concurrent use.
type packer struct {
	encoder *zstd.Encoder
	decoder *zstd.Decoder
}

// chunkPacker is made at its first use: it holds no state between calls.
var chunkPacker = sync.OnceValues(func() (*packer, error) {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest))
	if err != nil {
		return nil, err
	}
	dec, err := zstd.NewReader(nil, zstd.WithDecoderMaxMemory(chunkMax))
	return &packer{enc, dec}, err
})

// packChunk returns the form that a chunk is kept in: one zstd frame.
func packChunk(raw []byte) ([]byte, error) {
	p, err := chunkPacker()
	if err != nil {
		return nil, fmt.Errorf("pack chunk: %w", err)
	}
	return p.encoder.EncodeAll(raw, make([]byte, 0, len(raw)/2)), nil
}

// unpackChunk returns the raw form, of size bytes. It takes no more memory than that, whatever packed
// holds.
func unpackChunk(packed []byte, size int64) ([]byte, error) {
	p, err := chunkPacker()
	if err != nil {
		return nil, fmt.Errorf("unpack chunk: %w", err)
	}
	raw, err := p.decoder.DecodeAll(packed, make([]byte, 0, size))
	if errors.Is(err, zstd.ErrDecoderSizeExceeded) {
		return nil, fmt.Errorf("it unpacks to more than %d bytes", size)
	}
	if err != nil {
		return nil, fmt.Errorf("not what zstd compressed: %w", err)
	}
	return raw, nil
}
