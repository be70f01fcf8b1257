package container

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/rcbops/rpcbuild/derive"
	"github.com/rcbops/rpcbuild/derive/archive"
)

// buildChroot makes a root file system of the packages of a resolve: from nothing, or on top of
// another one.
func buildChroot(ctx context.Context, b *derive.Build) (err error) {
	list, err := readPackages(b.Input("packages"))
	if err != nil {
		return err
	}
	time, err := list.time()
	if err != nil {
		return err
	}
	var lowers []string
	_, layered := b.Drv.Inputs["base"]
	if layered {
		base := b.Input("base")
		lowers = []string{base}
		if time, err = laterTime(time, base); err != nil {
			return err
		}
	}
	s, err := openSystem(b, time, lowers...)
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

// time returns when the newest of the packages was made, in seconds since 1970, as their own
// headers say.
func (p *packages) time() (int64, error) {
	var newest int64
	for _, i := range p.list {
		t, err := debTime(p.path(i))
		if err != nil {
			return 0, err
		}
		newest = max(newest, t)
	}
	return newest, nil
}

// debTime reads the time in the header of a .deb's first member: see deb(5) and ar(5).
func debTime(name string) (int64, error) {
	f, err := os.Open(name)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	var header [8 + 16 + 12]byte // "!<arch>\n", the member's name, its time
	if _, err := f.ReadAt(header[:], 0); err != nil || !bytes.HasPrefix(header[:], []byte("!<arch>\ndebian-binary")) {
		return 0, fmt.Errorf("read %s: it is not a Debian package", filepath.Base(name))
	}
	t, err := strconv.ParseInt(strings.TrimSpace(string(header[24:])), 10, 64)
	if err != nil || t < 0 {
		return 0, fmt.Errorf("read %s: time %q in its header", filepath.Base(name), header[24:])
	}
	return t, nil
}

// laterTime returns the later of time and that of an unpacked root file system, which is the mtime
// of each of its directories: see archive.Options.
func laterTime(time int64, tree string) (int64, error) {
	fi, err := os.Stat(filepath.Join(tree, "usr"))
	if err != nil {
		return 0, fmt.Errorf("base chroot: %w", err)
	}
	return max(time, fi.ModTime().Unix()), nil
}

// writeJSON writes a file of an artifact that programs read.
func writeJSON(name string, v any) error {
	b, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(name, append(b, '\n'), 0o644)
}
