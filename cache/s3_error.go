package cache

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// failed makes an error of S3's what every backend says: no such file, not changed, exists, or that
// the place does not answer.
func (b *bucket) failed(ctx context.Context, name string, err error) error {
	if err == nil {
		return nil
	}
	var what error
	switch answer := minio.ToErrorResponse(err); {
	case ctx.Err() != nil:
		return ctx.Err()
	case answer.Code == minio.NoSuchBucket:
		what = fmt.Errorf("%w: there is no bucket %s", ErrUnreachable, b.bucket)
	case answer.Code == minio.NoSuchKey, answer.Code == noSuchUpload:
		what = fs.ErrNotExist
	case answer.StatusCode == http.StatusForbidden, answer.StatusCode == http.StatusUnauthorized, answer.StatusCode == http.StatusNotFound:
		what = fmt.Errorf("%w: %w%s", ErrUnreachable, answer, b.refusalHint(answer.Code)) // it is not a file that was not found
	case answer.StatusCode == http.StatusRequestedRangeNotSatisfiable:
		what = ErrShort
	case answer.StatusCode == http.StatusNotModified:
		what = ErrNotChanged
	case answer.StatusCode == http.StatusPreconditionFailed:
		what = fs.ErrExist
	case answer.StatusCode >= 500, answer.StatusCode == http.StatusTooManyRequests:
		what = fmt.Errorf("%w: %w", ErrUnreachable, answer)
	case answer.StatusCode != 0:
		what = answer
	default:
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err
		}
		what = fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	return fmt.Errorf("rpc-repo %s: %s: %w", b, name, what)
}

// Codes of S3 that the client has no names for.
const (
	unknownKey   = "InvalidAccessKeyId"
	noSuchUpload = "NoSuchUpload"
)

// refusalHint says which setting a refusal is about.
func (b *bucket) refusalHint(code string) string {
	have, err := b.creds.GetWithContext(&credentials.CredContext{Client: http.DefaultClient})
	switch {
	case err == nil && have.SignerType.IsAnonymous():
		return " (no credentials are set: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or MINIO_ACCESS_KEY and MINIO_SECRET_KEY)"
	case code == unknownKey:
		return fmt.Sprintf(" (AWS_ACCESS_KEY_ID %s is unknown there)", have.AccessKeyID)
	case code == "SignatureDoesNotMatch":
		return fmt.Sprintf(" (AWS_SECRET_ACCESS_KEY is not that of %s)", have.AccessKeyID)
	case code == "RequestTimeTooSkewed":
		return " (this machine's clock is wrong)"
	}
	return fmt.Sprintf(" (may AWS_ACCESS_KEY_ID %s do this in bucket %s?)", have.AccessKeyID, b.bucket)
}
