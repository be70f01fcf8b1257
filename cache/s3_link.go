package cache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/minio/minio-go/v7"
)

// s3CopyPart is how much of an object a server copies in one request; S3 takes up to 5 GiB.
const s3CopyPart = 1 << 30

// sourceTag is where a copy says which object it is of: the tag of a copy is another.
const sourceTag = "Rpcbuild-Source-Etag"

func (b *bucket) Link(ctx context.Context, name, existing string, replace bool) error {
	if err := b.checkName(name); err != nil {
		return err
	}
	source, err := b.stat(ctx, existing)
	if err != nil {
		return err
	}
	have, err := b.stat(ctx, name)
	if err == nil {
		same, err := b.same(ctx, name, have, existing, source)
		if err != nil || same {
			return err
		}
		if !replace {
			return fmt.Errorf("write: rpc-repo %s: %s: %w", b, name, fs.ErrExist)
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	err = b.copy(ctx, name, existing, source, condition{absent: !replace})
	if errors.Is(err, fs.ErrExist) && !replace { // another was faster
		if have, statErr := b.stat(ctx, name); statErr == nil {
			if same, sameErr := b.same(ctx, name, have, existing, source); same || sameErr != nil {
				return sameErr
			}
		}
	}
	return err
}

// Symlink makes a copy of target, which must be there.
func (b *bucket) Symlink(ctx context.Context, name, target string, replace bool) error {
	return b.Link(ctx, name, target, replace)
}

// copy copies an object on the server. A plain copy knows no condition, so it is made as an upload of
// which all parts are copied.
func (b *bucket) copy(ctx context.Context, name, existing string, source minio.ObjectInfo, cond condition) error {
	if source.Size == 0 {
		return b.write(ctx, name, bytes.NewReader(nil), cond) // there are no parts of nothing
	}
	metadata := map[string]string{sourceTag: source.ETag}
	return b.multipart(ctx, name, cond, metadata, func(ctx context.Context, id string) ([]minio.CompletePart, error) {
		var parts []minio.CompletePart
		for from := int64(0); from < source.Size; from += s3CopyPart {
			part, err := b.client.CopyObjectPart(ctx, b.bucket, b.key(existing), b.bucket, b.key(name), id, len(parts)+1,
				from, min(s3CopyPart, source.Size-from), map[string]string{"x-amz-copy-source-if-match": `"` + source.ETag + `"`})
			if err != nil {
				return nil, b.copied(ctx, existing, err)
			}
			parts = append(parts, part)
		}
		return parts, nil
	})
}

// copied is failed for a copy: what is not as expected is its source.
func (b *bucket) copied(ctx context.Context, existing string, err error) error {
	if err = b.failed(ctx, existing, err); errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("rpc-repo %s: %s was replaced while it was copied", b, existing)
	}
	return err
}

// same compares two objects by their tags, or else byte by byte. Where the tags differ, the content
// may be the same still: a tag tells, too, in what parts it came.
func (b *bucket) same(ctx context.Context, a string, infoA minio.ObjectInfo, c string, infoC minio.ObjectInfo) (bool, error) {
	if infoA.Size != infoC.Size {
		return false, nil
	}
	if infoA.ETag == infoC.ETag || infoA.UserMetadata[sourceTag] == infoC.ETag {
		return true, nil
	}
	bodyA, _, err := b.Get(ctx, a)
	if err != nil {
		return false, err
	}
	defer bodyA.Close()
	bodyC, _, err := b.Get(ctx, c)
	if err != nil {
		return false, err
	}
	defer bodyC.Close()
	return sameBytes(bodyA, bodyC)
}
