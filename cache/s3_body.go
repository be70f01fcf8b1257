package cache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/minio/minio-go/v7"
)

// s3Body is an object that is read. Where the connection breaks, it asks for the rest of the same
// version.
type s3Body struct {
	*bucket
	ctx    context.Context
	name   string
	etag   string
	answer io.ReadCloser
	offset int64
	end    int64 // of what is to be read
	broken int   // times in a row that not one byte came
}

// request asks for the object. A server that sends nothing is given up.
func (b *s3Body) request(opts minio.GetObjectOptions) (minio.ObjectInfo, error) {
	timed, cancel := context.WithCancelCause(b.ctx)
	body, info, _, err := b.client.GetObject(timed, b.bucket.bucket, b.key(b.name), opts)
	if err != nil {
		cancel(nil)
		return info, b.failed(b.ctx, b.name, err)
	}
	timer := time.AfterFunc(b.stall, func() { cancel(fmt.Errorf("no answer for %s", b.stall)) })
	timer.Stop() // it runs while somebody waits for bytes
	b.answer = &timedBody{ReadCloser: body, ctx: timed, cancel: cancel, timer: timer, stall: b.stall}
	return info, nil
}

func (b *s3Body) Read(p []byte) (int, error) {
	for {
		n, err := b.answer.Read(p)
		b.offset += int64(n)
		if n > 0 {
			b.broken = 0
		}
		if err == nil || err == io.EOF && b.offset == b.end {
			return n, err
		}
		if n > 0 {
			return n, nil // the next Read meets the error again
		}
		if b.broken++; b.ctx.Err() != nil || b.broken >= webTries {
			return 0, fmt.Errorf("%w: %s: %s: broke off after %d bytes: %w", ErrUnreachable, b.bucket, b.name, b.offset, err)
		}
		if err := b.resume(); err != nil {
			return 0, err
		}
	}
}

func (b *s3Body) resume() error {
	b.answer.Close()
	var opts minio.GetObjectOptions
	if err := errors.Join(opts.SetMatchETag(b.etag), opts.SetRange(b.offset, b.end-1)); err != nil {
		return fmt.Errorf("rpc-repo %s: %s: %w", b.bucket, b.name, err)
	}
	_, err := b.request(opts)
	if err != nil {
		b.answer = failedBody{err} // until it is closed
	}
	return err
}

func (b *s3Body) Close() error { return b.answer.Close() }

// failedBody stands for an answer that did not come.
type failedBody struct{ err error }

func (f failedBody) Read([]byte) (int, error) { return 0, f.err }
func (f failedBody) Close() error             { return nil }
