package container

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"github.com/rcbops/rpcbuild/derive"
	"github.com/rcbops/rpcbuild/derive/archive"
)

// chrootParams are the params of a chrootKind node.
type chrootParams struct {
	Time int64 `json:"time"` // of the release, in seconds since 1970
}

// buildChroot makes a root file system of the packages of a resolve: from nothing, or on top of
// another one.
func buildChroot(ctx context.Context, b *derive.Build) (err error) {
	var p chrootParams
	if err := b.Params(&p); err != nil {
		return err
	}
	list, err := readPackages(b.Input("packages"))
	if err != nil {
		return err
	}
	var lowers []string
	_, layered := b.Drv.Inputs["base"]
	if layered {
		lowers = []string{b.Input("base")}
	}
	s, err := openSystem(b, p.Time, lowers...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	install := s.bootstrap
	if layered {
		install = s.add
	}
	if err := s.withoutServices(func() error { return install(ctx, list) }); err != nil {
		return err
	}
	return s.write()
}

// write cleans the system and makes it the output, as a canonical tar.
func (s *system) write() error {
	if err := s.clean(); err != nil {
		return err
	}
	f, err := os.Create(filepath.Join(s.build.Output, derive.RootFS))
	if err != nil {
		return err
	}
	defer f.Close()
	if err := archive.Write(f, s.Root, archive.Options{Clamp: s.time}); err != nil {
		return err
	}
	return f.Close()
}
