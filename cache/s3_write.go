package cache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"mime"
	"net/http"
	"path"
	"time"

	"github.com/minio/minio-go/v7"
)

// A condition of a write: what the object must be like.
type condition struct {
	absent bool
	etag   string // that it must have
}

func (c condition) options(name string) minio.PutObjectOptions {
	opts := minio.PutObjectOptions{ContentType: mime.TypeByExtension(path.Ext(name))}
	if c.absent {
		opts.SetMatchETagExcept("*")
	} else if c.etag != "" {
		opts.SetMatchETag(c.etag)
	}
	return opts
}

// Create writes on the condition that there is no such object. If the connection breaks after the
// server did it, the second try meets our own object, and says fs.ErrExist.
func (b *bucket) Create(ctx context.Context, name string, content io.Reader) error {
	return b.write(ctx, name, content, condition{absent: true})
}

func (b *bucket) Replace(ctx context.Context, name string, content io.Reader) error {
	return b.write(ctx, name, content, condition{})
}

func (b *bucket) Put(ctx context.Context, name string, content io.Reader) error {
	return b.write(ctx, name, content, condition{})
}

// write sends content: in one request, or, if it is more than a piece, in pieces of which never more
// than one is in memory.
func (b *bucket) write(ctx context.Context, name string, content io.Reader, cond condition) error {
	if err := b.checkName(name); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("write %s to rpc-repo %s: %w", name, b, err)
	}
	buf, err := readPiece(content, nil, b.piece)
	if err == io.EOF {
		return b.writeOnce(ctx, name, buf, cond)
	}
	if err != nil {
		return fmt.Errorf("write %s to rpc-repo %s: %w", name, b, err)
	}
	return b.multipart(ctx, name, cond, nil, func(ctx context.Context, id string) ([]minio.CompletePart, error) {
		return b.sendPieces(ctx, name, id, buf, content)
	})
}

// writeOnce writes an object in one request. Of two conditional writes at once, a server may refuse
// both: then that is asked again.
func (b *bucket) writeOnce(ctx context.Context, name string, content []byte, cond condition) error {
	wait := s3UpdateWait
	for try := 1; ; try++ {
		_, err := b.client.PutObject(ctx, b.bucket, b.key(name), bytes.NewReader(content), int64(len(content)), "", "", cond.options(name))
		if try == s3Tries || minio.ToErrorResponse(err).StatusCode != http.StatusConflict {
			return b.written(ctx, name, err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait/2 + rand.N(wait)):
			wait *= 2
		}
	}
}

// readPiece reads up to limit bytes; io.EOF says that they are the last. Small content takes little
// memory.
func readPiece(content io.Reader, buf []byte, limit int) ([]byte, error) {
	b := bytes.NewBuffer(buf[:0])
	if _, err := io.CopyN(b, content, int64(limit)); err != nil {
		return b.Bytes(), err
	}
	return b.Bytes(), nil
}

func (b *bucket) sendPieces(ctx context.Context, name, id string, piece []byte, content io.Reader) ([]minio.CompletePart, error) {
	var parts []minio.CompletePart
	var last bool
	for number := 1; ; number++ {
		part, err := b.client.PutObjectPart(ctx, b.bucket, b.key(name), id, number,
			bytes.NewReader(piece), int64(len(piece)), minio.PutObjectPartOptions{})
		if err != nil {
			return nil, b.written(ctx, name, err)
		}
		parts = append(parts, minio.CompletePart{PartNumber: number, ETag: part.ETag})
		if last {
			return parts, nil
		}
		piece, err = readPiece(content, piece, b.piece)
		if last = err == io.EOF; last && len(piece) == 0 {
			return parts, nil
		}
		if err != nil && !last {
			return nil, fmt.Errorf("write %s to rpc-repo %s: %w", name, b, err)
		}
	}
}

// multipart makes an object of the parts that send sends. After an error, the parts are removed:
// a store keeps, and its owner pays for, those of an upload that nobody ended.
func (b *bucket) multipart(ctx context.Context, name string, cond condition, metadata map[string]string, send func(ctx context.Context, id string) ([]minio.CompletePart, error)) error {
	opts := condition{}.options(name)
	opts.UserMetadata = metadata
	id, err := b.client.NewMultipartUpload(ctx, b.bucket, b.key(name), opts)
	if err != nil {
		return b.written(ctx, name, err)
	}
	parts, err := send(ctx, id)
	if err == nil {
		_, err = b.client.CompleteMultipartUpload(ctx, b.bucket, b.key(name), id, parts, cond.options(name))
		err = b.written(ctx, name, err)
	}
	if err == nil {
		return nil
	}
	short, cancel := context.WithTimeout(context.WithoutCancel(ctx), b.stall)
	defer cancel()
	if abortErr := b.client.AbortMultipartUpload(short, b.bucket, b.key(name), id); abortErr != nil {
		abortErr = b.failed(short, name, abortErr)
		if !errors.Is(abortErr, fs.ErrNotExist) { // it was ended, and only the answer was lost
			return errors.Join(err, fmt.Errorf("abort the upload: %w", abortErr))
		}
	}
	return err
}

// written is failed for a write.
func (b *bucket) written(ctx context.Context, name string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("write: %w", b.failed(ctx, name, err))
}
