// Package apttest makes upstream apt archives for tests: packages, signed suites, and a server that
// can be told to misbehave.
package apttest

import (
	"archive/tar"
	"bytes"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/klauspost/compress/gzip"
)

// A Deb is a package to make. The same Deb gives the same bytes.
type Deb struct {
	Name, Version, Arch string
	// Fields are of the control file, beside those that every package needs.
	Fields map[string]string
	// Files are the content of the package's plain files, by absolute path.
	Files map[string]string
}

// File returns the name of the .deb, which lacks the epoch of the version.
func (d Deb) File() string {
	version := d.Version
	if _, rest, ok := strings.Cut(version, ":"); ok {
		version = rest
	}
	return d.Name + "_" + version + "_" + d.Arch + ".deb"
}

// control returns the control file, without an empty line at its end.
func (d Deb) control() string {
	fields := map[string]string{
		"Maintainer": "Nobody <nobody@example.org>", "Description": "made for a test",
		"Priority": "optional", "Section": "misc",
	}
	maps.Copy(fields, d.Fields)
	var b strings.Builder
	fmt.Fprintf(&b, "Package: %s\nVersion: %s\nArchitecture: %s\n", d.Name, d.Version, d.Arch)
	for _, f := range slices.Sorted(maps.Keys(fields)) {
		fmt.Fprintf(&b, "%s: %s\n", f, fields[f])
	}
	return b.String()
}

// Bytes returns the .deb.
func (d Deb) Bytes() ([]byte, error) {
	control, err := tarball(map[string]string{"/control": d.control()})
	if err != nil {
		return nil, err
	}
	data, err := tarball(d.Files)
	if err != nil {
		return nil, err
	}
	b := bytes.NewBufferString("!<arch>\n")
	for _, m := range []struct {
		name    string
		content []byte
	}{{"debian-binary", []byte("2.0\n")}, {"control.tar.gz", control}, {"data.tar.gz", data}} {
		fmt.Fprintf(b, "%-16s%-12d%-6d%-6d%-8s%-10d`\n", m.name, 0, 0, 0, "100644", len(m.content))
		b.Write(m.content)
		if len(m.content)%2 == 1 {
			b.WriteByte('\n')
		}
	}
	return b.Bytes(), nil
}

func tarball(files map[string]string) ([]byte, error) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	t := tar.NewWriter(z)
	made := map[string]bool{".": true}
	if err := t.WriteHeader(&tar.Header{Name: "./", Typeflag: tar.TypeDir, Mode: 0o755}); err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := parents(t, path.Dir("."+name), made); err != nil {
			return nil, err
		}
		h := &tar.Header{Name: "." + name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(files[name]))}
		if strings.Contains(name, "/bin/") {
			h.Mode = 0o755
		}
		if err := t.WriteHeader(h); err != nil {
			return nil, err
		}
		if _, err := t.Write([]byte(files[name])); err != nil {
			return nil, err
		}
	}
	if err := t.Close(); err != nil {
		return nil, err
	}
	err := z.Close()
	return b.Bytes(), err
}

// parents writes the folders above a file that made does not have yet.
func parents(t *tar.Writer, dir string, made map[string]bool) error {
	dir = path.Clean(dir)
	if made[dir] {
		return nil
	}
	if err := parents(t, path.Dir(dir), made); err != nil {
		return err
	}
	made[dir] = true
	return t.WriteHeader(&tar.Header{Name: "./" + dir + "/", Typeflag: tar.TypeDir, Mode: 0o755})
}
