package cache_test

import (
	"context"
	"io"
)

func (b *interrupting) Create(ctx context.Context, path string, content io.Reader) error {
	if err := b.step(); err != nil {
		return err
	}
	return b.Writer.Create(ctx, path, content)
}

func (b *interrupting) Replace(ctx context.Context, path string, content io.Reader) error {
	if err := b.step(); err != nil {
		return err
	}
	return b.Writer.Replace(ctx, path, content)
}

func (b *interrupting) Link(ctx context.Context, path, existing string, replace bool) error {
	if err := b.step(); err != nil {
		return err
	}
	return b.Writer.Link(ctx, path, existing, replace)
}

func (b *interrupting) Symlink(ctx context.Context, path, target string, replace bool) error {
	if err := b.step(); err != nil {
		return err
	}
	return b.Writer.Symlink(ctx, path, target, replace)
}

func (b *interrupting) Update(ctx context.Context, path string, limit int64, change func([]byte) ([]byte, error)) error {
	if err := b.step(); err != nil {
		return err
	}
	return b.Writer.Update(ctx, path, limit, change)
}

func (b *interrupting) Flush(ctx context.Context) error {
	if err := b.step(); err != nil {
		return err
	}
	return b.Writer.Flush(ctx)
}
