package python

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"crypto/sha256"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/rcbops/rpcbuild/derive"
	"github.com/rcbops/rpcbuild/derive/sandbox"
	"github.com/rcbops/rpcbuild/store"
)

const wheelKind = "wheel"

// wheelParams is what a wheel is made of beside its inputs. No release is named, and no time of one:
// a wheel serves every release that has the same source, tools and chroot.
type wheelParams struct {
	Project  string `json:"project"`
	Version  string `json:"version"`
	Compiled bool   `json:"compiled"` // it must hold compiled code
	Machine  string `json:"machine"`
	Platform string `json:"platform"` // such as debian-13-x86_64: where it is published
}

// Names of inputs of a wheel or a venv; tools and wheels follow theirs.
const (
	chrootInput = "chroot"
	sourceInput = "sdist"
	toolInput   = "build/"
	wheelInput  = "wheel/"
)

//go:embed scripts/wheel.sh
var wheelScript string

// buildWheel builds the source archive with exactly its tools, and leaves one wheel.
func buildWheel(ctx context.Context, b *derive.Build) error {
	var p wheelParams
	if err := b.Params(&p); err != nil {
		return err
	}
	archive, err := b.InputFile(sourceInput)
	if err != nil {
		return err
	}
	when, err := sourceTime(archive)
	if err != nil {
		return fmt.Errorf("read %s: %w", filepath.Base(archive), err)
	}
	built, err := runWheel(ctx, b, p, archive, when)
	if err != nil {
		return err
	}
	return finishWheel(b, p, built, when)
}

// runWheel returns the wheel that the backend made, in the scratch folder.
func runWheel(ctx context.Context, b *derive.Build, p wheelParams, archive string, when time.Time) (string, error) {
	tools, _, err := gather(b, toolInput, "tools")
	if err != nil {
		return "", err
	}
	out := filepath.Join(b.Scratch, "out")
	if err := os.Mkdir(out, 0o755); err != nil {
		return "", err
	}
	inside := "/build/" + filepath.Base(archive)
	err = runInChroot(ctx, b, sandbox.Command{
		Args: []string{"sh", "-c", wheelScript, "sh", inside, p.Project + "-" + p.Version},
		Env: []string{
			fmt.Sprintf("SOURCE_DATE_EPOCH=%d", when.Unix()),
			// No debug information: it is most of the bytes, and nobody has the sources where a wheel runs.
			"CFLAGS=-g0 -ffile-prefix-map=/build/src=.", "CXXFLAGS=-g0 -ffile-prefix-map=/build/src=.",
		},
		Binds: []sandbox.Bind{
			{Source: archive, Target: inside},
			{Source: tools, Target: "/build/tools"},
			{Source: out, Target: "/build/out", Writable: true},
		},
	})
	if err != nil {
		return "", err
	}
	wheels, err := filepath.Glob(filepath.Join(out, "*.whl"))
	if err != nil || len(wheels) != 1 {
		return "", fmt.Errorf("the backend of %s left %d wheels, want one", p.Project, len(wheels))
	}
	return wheels[0], nil
}

// finishWheel checks the wheel, and puts its canonical form into the output.
func finishWheel(b *derive.Build, p wheelParams, built string, when time.Time) error {
	name := filepath.Base(built)
	tags, err := parseWheelName(name)
	if err != nil {
		return err
	}
	canonical := filepath.Join(b.Scratch, "canonical.whl")
	f, err := os.Create(canonical)
	if err != nil {
		return err
	}
	sum := sha256.New()
	info, err := canonicalWheel(io.MultiWriter(f, sum), built, when)
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	switch {
	case info.Name != p.Project || info.Version != p.Version:
		return fmt.Errorf("%s says that it is %s %s, and the lock has %s %s", name, info.Name, info.Version, p.Project, p.Version)
	case tags.Platform != "any" && tags.Platform != "linux_"+p.Machine:
		return fmt.Errorf("%s is for the platform %s, want linux_%s", name, tags.Platform, p.Machine)
	case p.Compiled && !info.Native:
		return fmt.Errorf("%s holds no compiled code, while upstream's wheel does: the build chroot lacks what it is compiled with (add to packages; or list %s under pure to have it so)", name, p.Project)
	}
	name = tags.named(sum.Sum(nil))
	if err := os.Rename(canonical, filepath.Join(b.Output, name)); err != nil {
		return err
	}
	b.Publish(publishWheel(p.Platform, p.Project, name, name)...)
	return nil
}

// poolPath is where a wheel is published, once for all releases.
func poolPath(platform, project, name string) string {
	return path.Join("pools", platform, project, name)
}

// publishWheel returns where a wheel, the artifact's file, appears for every release.
func publishWheel(platform, project, name, file string) []store.Publication {
	pool := poolPath(platform, project, name)
	return []store.Publication{{Path: pool, File: file}, {Path: path.Join("links", platform, name), Link: pool}}
}

// gather puts the wheels that are inputs below prefix into one folder of the scratch folder. It
// returns the folder, and the wheels' names by project.
func gather(b *derive.Build, prefix, folder string) (string, map[string]string, error) {
	dir := filepath.Join(b.Scratch, folder)
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", nil, err
	}
	names := make(map[string]string)
	for _, input := range slices.Sorted(maps.Keys(b.Drv.Inputs)) {
		project, ok := strings.CutPrefix(input, prefix)
		if !ok {
			continue
		}
		file, err := b.InputFile(input)
		if err != nil {
			return "", nil, err
		}
		names[project] = filepath.Base(file)
		if err := os.Link(file, filepath.Join(dir, names[project])); err != nil {
			return "", nil, err
		}
	}
	return dir, names, nil
}

// runInChroot runs a command in a sandbox on the input chroot. Its error says what the output says
// of the cause, where that is known.
func runInChroot(ctx context.Context, b *derive.Build, c sandbox.Command) (err error) {
	scratch := filepath.Join(b.Scratch, "sandbox")
	if err := os.Mkdir(scratch, 0o755); err != nil {
		return err
	}
	box, err := sandbox.Open(scratch, b.Input(chrootInput))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, box.Close()) }()
	t := &tail{w: b.Log}
	c.Log = t
	return explain(t, box.Run(ctx, c))
}

// explain puts before err what the output says of its cause.
func explain(t *tail, err error) error {
	var exit *sandbox.ExitError
	if !errors.As(err, &exit) {
		return err
	}
	exit.Args = exit.Args[:1] // the rest is a script
	if cause := t.cause(); cause != "" {
		return fmt.Errorf("%s: %w", cause, exit)
	}
	return exit
}

// newestMember returns the latest time of a member of a .tar.gz, and the earliest that a zip can
// hold if all are before that.
func newestMember(r io.Reader) (time.Time, error) {
	z, err := gzip.NewReader(r)
	if err != nil {
		return time.Time{}, err
	}
	newest := zipEpoch()
	for t := tar.NewReader(z); ; {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return newest, nil
		}
		if err != nil {
			return time.Time{}, err
		}
		if h.ModTime.After(newest) {
			newest = h.ModTime.UTC().Truncate(time.Second)
		}
	}
}
