package python

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/rcbops/rpcbuild/derive"
	"github.com/rcbops/rpcbuild/derive/archive"
	"github.com/rcbops/rpcbuild/derive/sandbox"
	"github.com/rcbops/rpcbuild/store"
)

const venvKind = "venv"

// venvParams is what a virtual environment is made of beside its inputs.
type venvParams struct {
	Name     string   `json:"name"`
	Release  string   `json:"release"`
	Machine  string   `json:"machine"`
	Platform string   `json:"platform"`
	Packages []string `json:"packages"` // ids, sorted
}

// venvRoot is where virtual environments lie on the machines that use them.
const venvRoot = "/openstack/venvs"

// VenvPath returns where a release's virtual environment is unpacked.
func VenvPath(name, release string) string { return path.Join(venvRoot, name+"-"+release) }

// VenvFile returns the name of a virtual environment's archive, without its ending: .tgz, or
// .checksum for its bare SHA-1.
func VenvFile(name, release, machine string) string { return name + "-" + release + "-" + machine }

//go:embed scripts/venv.sh
var venvScript string

// buildVenv makes the virtual environment at its final path in a sandbox, and packs it. The archive
// holds what is in the folder of the environment, and not the folder: it is unpacked into one that
// is there.
func buildVenv(ctx context.Context, b *derive.Build) error {
	var p venvParams
	if err := b.Params(&p); err != nil {
		return err
	}
	wheels, names, err := gather(b, wheelInput, "wheels")
	if err != nil {
		return err
	}
	pins, err := pinned(p.Packages, func(project string) string { return filepath.Join(wheels, names[project]) })
	if err != nil {
		return err
	}
	requirements := filepath.Join(b.Scratch, "requirements")
	if err := os.WriteFile(requirements, []byte(lines(pins)), 0o644); err != nil {
		return err
	}
	venv := VenvPath(p.Name, p.Release)
	made := filepath.Join(b.Scratch, "venv")
	if err := os.Mkdir(made, 0o755); err != nil {
		return err
	}
	err = runInChroot(ctx, b, sandbox.Command{
		Args: []string{"sh", "-c", venvScript, "sh", venv},
		Binds: []sandbox.Bind{
			{Source: wheels, Target: "/build/wheels"},
			{Source: requirements, Target: "/build/requirements"},
			{Source: made, Target: venv, Writable: true},
		},
	})
	if err != nil {
		return err
	}
	clamp, err := newestWheel(wheels, names)
	if err != nil {
		return err
	}
	return packVenv(b, p, made, clamp)
}

// newestWheel returns the latest time in any of the wheels: files that were made later, by whatever
// clock, are given that one.
func newestWheel(dir string, names map[string]string) (time.Time, error) {
	newest := zipEpoch()
	for _, project := range sortedKeys(names) {
		t, err := newestFile(filepath.Join(dir, names[project]))
		if err != nil {
			return newest, err
		}
		if t.After(newest) {
			newest = t
		}
	}
	return newest, nil
}

// packVenv writes the archive and its checksum.
func packVenv(b *derive.Build, p venvParams, tree string, clamp time.Time) error {
	name := VenvFile(p.Name, p.Release, p.Machine)
	if err := archive.WriteTgz(filepath.Join(b.Output, name), tree, archive.Options{Clamp: clamp.Unix(), Root: true}); err != nil {
		return err
	}
	for _, published := range venvPaths(p.Name, p.Release, p.Machine, p.Platform) {
		b.Publish(store.Publication{Path: published, File: path.Base(published)})
	}
	return nil
}

// venvPaths is where the two files of a virtual environment are published.
func venvPaths(name, release, machine, platform string) []string {
	base := path.Join("venvs", release, platform, VenvFile(name, release, machine))
	return []string{base + ".checksum", base + ".tgz"}
}

// pinned returns requirements for pip that name exactly the wheels that file returns for projects.
func pinned(ids []string, file func(project string) string) ([]string, error) {
	var pins []string
	for _, id := range slices.Sorted(slices.Values(ids)) {
		project, _, _ := strings.Cut(id, "==")
		f, err := os.Open(file(project))
		if err != nil {
			return nil, err
		}
		sum := sha256.New()
		_, err = io.Copy(sum, f)
		if err := errors.Join(err, f.Close()); err != nil {
			return nil, fmt.Errorf("hash wheel of %s: %w", id, err)
		}
		pins = append(pins, id+" --hash=sha256:"+hex.EncodeToString(sum.Sum(nil)))
	}
	return pins, nil
}
