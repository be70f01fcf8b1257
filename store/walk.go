package store

import (
	"context"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sync/errgroup"
)

// walkFanout calls fn for each object below a folder of 256, several at a time. What has no name of an
// object is passed over.
func (s *Store) walkFanout(ctx context.Context, dir string, fn func(i id, path string) error) error {
	return s.walkFanoutSince(ctx, dir, 0, fn)
}

// walkFanoutSince is walkFanout for the folders that were changed since then.
func (s *Store) walkFanoutSince(ctx context.Context, dir string, since int64, fn func(i id, path string) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for b := range 256 {
		prefix := hex.EncodeToString([]byte{byte(b)})
		sub := s.path(dir, prefix)
		g.Go(func() error {
			if t, err := changed(sub); gone(err) || err == nil && t < since {
				return nil
			}
			return eachName(ctx, sub, func(name string) error {
				if i, err := parseID(prefix + name); err == nil {
					return fn(i, sub+"/"+name)
				}
				return nil
			})
		})
	}
	return g.Wait()
}

// walkDerivations calls fn for each derivation that has statements, several at a time.
func (s *Store) walkDerivations(ctx context.Context, fn func(drv DrvID, dir string) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	const batch = 1024
	var dirs []DrvID
	flush := func() {
		some := dirs
		dirs = nil
		g.Go(func() error {
			for _, drv := range some {
				if err := ctx.Err(); err != nil {
					return err
				}
				if err := fn(drv, s.path(realisationDir, drv.String())); err != nil {
					return err
				}
			}
			return nil
		})
	}
	err := eachName(ctx, s.path(realisationDir), func(name string) error {
		if drv, err := ParseDrvID(name); err == nil {
			if dirs = append(dirs, drv); len(dirs) == batch {
				flush()
			}
		}
		return nil
	})
	flush()
	if err := g.Wait(); err != nil {
		return err
	}
	return err
}

// eachStatement calls fn for each statement of a derivation.
func eachStatement(dir string, fn func(artifact ArtifactID, path string) error) error {
	return eachName(context.Background(), dir, func(name string) error {
		if artifact, err := ParseArtifactID(name); err == nil {
			return fn(artifact, filepath.Join(dir, name))
		}
		return nil
	})
}

// eachName calls fn for each name in a folder, which may be missing, in no order and without
// holding all of them in memory.
func eachName(ctx context.Context, dir string, fn func(name string) error) error {
	f, err := os.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	for {
		names, err := f.Readdirnames(4096)
		for _, n := range names {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := fn(n); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
