package cache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/minio/minio-go/v7"
)

// How long an update goes on when others are faster each time. Of several that meet, one succeeds.
const (
	s3UpdateTries   = 40
	s3UpdateWait    = 20 * time.Millisecond // before the second try; twice as much before each next one
	s3UpdateLongest = 2 * time.Second
)

// Update compares and swaps: the server replaces an object only while it has the tag that was read.
// A tag follows from the content, so an object that was changed and changed back counts as
// not changed, which for what is computed from its content comes to the same.
func (b *bucket) Update(ctx context.Context, name string, limit int64, change func([]byte) ([]byte, error)) error {
	if err := b.checkName(name); err != nil {
		return err
	}
	select {
	case b.updating <- struct{}{}:
		defer func() { <-b.updating }()
	case <-ctx.Done():
		return ctx.Err()
	}
	wait := s3UpdateWait
	for try := 1; ; try++ {
		err := b.updateOnce(ctx, name, limit, change)
		if !errors.Is(err, errRace) {
			return err
		}
		if try == s3UpdateTries {
			return fmt.Errorf("update %s of rpc-repo %s: %d times, others were faster", name, b, try)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait/2 + rand.N(wait)):
			wait = min(2*wait, s3UpdateLongest)
		}
	}
}

// errRace says that an object changed between it was read and written.
var errRace = errors.New("another writer was faster")

func (b *bucket) updateOnce(ctx context.Context, name string, limit int64, change func([]byte) ([]byte, error)) error {
	old, cond, err := b.readAll(ctx, name, limit)
	if err != nil {
		return err
	}
	after, err := change(old)
	if err != nil || old != nil && bytes.Equal(after, old) {
		return err
	}
	_, err = b.client.PutObject(ctx, b.bucket, b.key(name), bytes.NewReader(after), int64(len(after)), "", "", cond.options(name))
	answer := minio.ToErrorResponse(err)
	switch answer.StatusCode {
	case http.StatusPreconditionFailed, http.StatusConflict:
		return errRace
	}
	if answer.Code == minio.NoSuchKey {
		return errRace // it was removed
	}
	return b.written(ctx, name, err)
}

// readAll returns the content of an object, or nil if there is none, and the condition that it is
// still that.
func (b *bucket) readAll(ctx context.Context, name string, limit int64) ([]byte, condition, error) {
	body, err := b.open(ctx, name, "")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, condition{absent: true}, nil
	}
	if err != nil {
		return nil, condition{}, err
	}
	defer body.Close()
	if body.end > limit {
		return nil, condition{}, &WrongError{Repo: b.url, Path: name, Err: fmt.Errorf("more than %d bytes", limit)}
	}
	content := make([]byte, body.end)
	if _, err := io.ReadFull(body, content); err != nil {
		return nil, condition{}, err
	}
	return content, condition{etag: body.etag}, nil
}
