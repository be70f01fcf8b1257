package cache

import (
	"context"
	"io"
	"os"
	"slices"

	"github.com/minio/minio-go/v7"
)

// s3PartMin is the least that a part of an upload may have, but for the last one.
const s3PartMin = 5 << 20

// Assemble makes an upload of which some parts are copied. A span that is too short for a part is sent.
func (b *bucket) Assemble(ctx context.Context, name string, content *os.File, spans []Span) (sent int64, err error) {
	if err := b.checkName(name); err != nil {
		return 0, err
	}
	fi, err := content.Stat()
	if err != nil {
		return 0, err
	}
	size := fi.Size()
	parts := s3Parts(size, spans)
	if !slices.ContainsFunc(parts, Span.copied) {
		return size, b.write(ctx, name, io.NewSectionReader(content, 0, size), condition{})
	}
	err = b.multipart(ctx, name, condition{}, nil, func(ctx context.Context, id string) ([]minio.CompletePart, error) {
		var done []minio.CompletePart
		for _, p := range parts {
			part, err := b.sendPart(ctx, name, id, len(done)+1, content, p)
			if err != nil {
				return nil, err
			}
			if !p.copied() {
				sent += p.Size
			}
			done = append(done, part)
		}
		return done, nil
	})
	return sent, err
}

// sendPart sends a part of the content, or has it copied.
func (b *bucket) sendPart(ctx context.Context, name, id string, number int, content *os.File, p Span) (minio.CompletePart, error) {
	if p.copied() {
		part, err := b.client.CopyObjectPart(ctx, b.bucket, b.key(p.Path), b.bucket, b.key(name), id, number, p.From, p.Size, nil)
		return part, b.copied(ctx, p.Path, err)
	}
	part, err := b.client.PutObjectPart(ctx, b.bucket, b.key(name), id, number,
		io.NewSectionReader(content, p.Offset, p.Size), p.Size, minio.PutObjectPartOptions{})
	return minio.CompletePart{PartNumber: number, ETag: part.ETag}, b.written(ctx, name, err)
}

// s3Parts cuts content of size bytes into the parts of an upload. Those without a path are sent.
func s3Parts(size int64, spans []Span) (parts []Span) {
	var end int64 // of what is in parts
	add := func(s Span, piece int64) {
		for n := max(1, s.Size/piece); n > 0; n-- { // even, so that none is too short
			p := s
			p.Size = s.Size / n
			parts = append(parts, p)
			s = s.after(p.Size)
		}
		end = s.Offset
	}
	send := func(to int64) {
		if to > end {
			add(Span{Offset: end, Size: to - end}, s3Piece)
		}
	}
	for _, s := range spans {
		if gap := s.Offset - end; gap > 0 && gap < s3PartMin { // what is sent takes from what could be copied
			s = s.after(s3PartMin - gap)
		}
		if s.Size >= s3PartMin {
			send(s.Offset)
			add(s, s3CopyPart)
		}
	}
	send(size)
	return parts
}
