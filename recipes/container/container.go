package container

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/klauspost/compress/gzip"

	"github.com/rcbops/rpcbuild/derive"
	"github.com/rcbops/rpcbuild/derive/archive"
	"github.com/rcbops/rpcbuild/derive/sandbox"
)

// containerParams are the params of a containerKind node.
type containerParams struct {
	Time     int64             `json:"time"` // of the release, in seconds since 1970
	Files    []File            `json:"files,omitempty"`
	Commands []string          `json:"commands,omitempty"`
	Venvs    map[string]string `json:"venvs,omitempty"` // the folder that each unpacks in, below the root
	Source   aptSource         `json:"source"`
}

// aptSource is the one repository that a container installs from.
type aptSource struct {
	Name      string `json:"name"` // of its files
	URL       string `json:"url"`
	Suite     string `json:"suite"`
	Component string `json:"component"`
	Arch      string `json:"arch"`
	Key       string `json:"key"`
}

// PackagesFile is the list of installed packages in a container's artifact, beside its root file system.
const PackagesFile = "packages.json"

// buildContainer makes the root file system of a role.
func buildContainer(ctx context.Context, b *derive.Build) (err error) {
	var p containerParams
	if err := b.Params(&p); err != nil {
		return err
	}
	list, err := readPackages(b.Input("packages"))
	if err != nil {
		return err
	}
	s, err := openSystem(b, p.Time, b.Input("base"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	err = s.withoutServices(func() error {
		if err := s.add(ctx, list); err != nil {
			return err
		}
		return s.configure(ctx, &p)
	})
	if err != nil {
		return err
	}
	has, err := s.installed(ctx)
	if err != nil {
		return err
	}
	if err := writeJSON(filepath.Join(b.Output, PackagesFile), has); err != nil {
		return err
	}
	return s.write()
}

// configure adds what does not come from packages.
func (s *system) configure(ctx context.Context, p *containerParams) error {
	if err := s.setSource(p.Source); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(p.Venvs)) {
		if err := s.unpackVenv(name, p.Venvs[name]); err != nil {
			return fmt.Errorf("virtual environment %s: %w", name, err)
		}
	}
	if err := s.writeFiles(append(lxcFiles(), p.Files...)); err != nil {
		return err
	}
	for _, c := range p.Commands {
		if err := s.run(ctx, sandbox.Command{Args: []string{"/bin/sh", "-ec", c}}); err != nil {
			return err
		}
	}
	return nil
}

// lxcFiles are what the download client puts a container's name into: see [templates].
func lxcFiles() []File {
	return []File{
		{Path: "/etc/hostname", Content: "LXC_NAME\n"},
		{Path: "/etc/hosts", Content: "127.0.0.1\tlocalhost\n127.0.1.1\tLXC_NAME\n" +
			"::1\tlocalhost ip6-localhost ip6-loopback\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n"},
	}
}

// setSource makes src the only place that apt installs from.
func (s *system) setSource(src aptSource) error {
	root, err := os.OpenRoot(s.Root)
	if err != nil {
		return fmt.Errorf("set apt source: %w", err)
	}
	defer root.Close()
	const list = "etc/apt/sources.list"
	if err := errors.Join(root.RemoveAll(list), root.RemoveAll(list+".d")); err != nil {
		return fmt.Errorf("set apt source: %w", err)
	}
	keyring := "/etc/apt/keyrings/" + src.Name + ".asc"
	return s.writeFiles([]File{
		{Path: keyring, Content: src.Key},
		{Path: "/" + list + ".d/" + src.Name + ".sources", Content: fmt.Sprintf(
			"Types: deb\nURIs: %s\nSuites: %s\nComponents: %s\nArchitectures: %s\nSigned-By: %s\n",
			src.URL, src.Suite, src.Component, src.Arch, keyring)},
	})
}

// unpackVenv unpacks the .tgz of a virtual environment in the folder that is its final path.
func (s *system) unpackVenv(name, folder string) error {
	tgz, err := filepath.Glob(filepath.Join(s.build.Input(venvInput(name)), "*.tgz"))
	if err != nil || len(tgz) != 1 {
		return fmt.Errorf("want one .tgz in its artifact, there are %d", len(tgz))
	}
	f, err := os.Open(tgz[0])
	if err != nil {
		return err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return err
	}
	root, err := os.OpenRoot(s.Root)
	if err != nil {
		return err
	}
	defer root.Close()
	if err := root.MkdirAll(folder, 0o755); err != nil { // no link leads out of the root after this
		return err
	}
	if err := archive.Unpack(z, filepath.Join(s.Root, folder)); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, z) // to the checksum
	return err
}

// writeFiles writes files, as a tar: so that a link in the system leads nowhere else.
func (s *system) writeFiles(files []File) error {
	ids, err := readIDs(s.Root)
	if err != nil {
		return fmt.Errorf("write files: %w", err)
	}
	r, w := io.Pipe()
	go func() { w.CloseWithError(writeFilesTar(w, files, ids, s.time)) }()
	err = archive.Unpack(r, s.Root)
	r.Close()
	if err != nil {
		return fmt.Errorf("write files: %w", err)
	}
	return nil
}
