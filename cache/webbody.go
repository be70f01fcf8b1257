package cache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// timedBody ends a read for which the server sends nothing. Its timer runs only during a read: a
// slow disk on our side is not the server's fault.
type timedBody struct {
	io.ReadCloser
	ctx    context.Context
	cancel context.CancelCauseFunc
	timer  *time.Timer
	stall  time.Duration
}

func (b *timedBody) Read(p []byte) (int, error) {
	b.timer.Reset(b.stall)
	n, err := b.ReadCloser.Read(p)
	b.timer.Stop()
	if err != nil && err != io.EOF && b.ctx.Err() != nil {
		err = context.Cause(b.ctx)
	}
	return n, err
}

func (b *timedBody) Close() error {
	b.timer.Stop()
	b.cancel(nil)
	return b.ReadCloser.Close()
}

// webBody is a file that is read from a server. Where the connection breaks, it asks for the rest.
// Whoever reads it verifies the whole, so a file that changed between is found out.
type webBody struct {
	*web
	ctx    context.Context
	name   string
	answer *http.Response
	tag    string // the ETag of the first answer
	offset int64
	end    int64 // of what is to be read; 0 for that of the file
	broken int   // times in a row that not one byte came
}

func (b *webBody) request(header http.Header) error {
	resp, err := b.do(b.ctx, http.MethodGet, b.name, header)
	if err != nil {
		return err
	}
	b.answer = resp
	return nil
}

func (b *webBody) Read(p []byte) (int, error) {
	for {
		n, err := b.answer.Body.Read(p)
		b.offset += int64(n)
		if n > 0 {
			b.broken = 0
		}
		if err == nil || err == io.EOF {
			return n, err
		}
		if n > 0 {
			return n, nil // the next Read meets the error again
		}
		b.broken++
		if b.ctx.Err() != nil || b.broken >= b.tries {
			return 0, fmt.Errorf("%w: %s/%s: broke off after %d bytes: %w", ErrUnreachable, b.web, b.name, b.offset, err)
		}
		if err := b.resume(); err != nil {
			return 0, err
		}
	}
}

// resume asks for the bytes from the offset on.
func (b *webBody) resume() error {
	b.answer.Body.Close()
	whole, err := b.requestRest()
	if err != nil || !whole {
		return err
	}
	// The whole file again: skip what was read.
	if _, err := io.CopyN(io.Discard, b.answer.Body, b.offset); err != nil {
		return fmt.Errorf("%w: %s/%s: broke off again: %w", ErrUnreachable, b.web, b.name, err)
	}
	return nil
}

// requestRest asks for the bytes from the offset on. It reports whether the server sends the whole file.
func (b *webBody) requestRest() (whole bool, err error) {
	header := http.Header{"Range": {fmt.Sprintf("bytes=%d-", b.offset)}}
	if b.end > 0 {
		header.Set("Range", fmt.Sprintf("bytes=%d-%d", b.offset, b.end-1))
	}
	if b.tag != "" {
		header.Set("If-Range", b.tag)
	}
	if err := b.request(header); err != nil {
		return false, err
	}
	if b.answer.StatusCode != http.StatusPartialContent {
		return true, nil
	}
	var from int64
	if _, err := fmt.Sscanf(b.answer.Header.Get("Content-Range"), "bytes %d-", &from); err == nil && from == b.offset {
		return false, nil
	}
	return false, errors.Join(fmt.Errorf("%s/%s: the server sent another part than asked for", b.web, b.name), b.answer.Body.Close())
}

func (b *webBody) Close() error { return b.answer.Body.Close() }
