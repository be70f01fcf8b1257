package apttest

import (
	"bytes"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/opencontainers/go-digest"
)

// A Suite is one suite of an archive, with the component main.
type Suite struct {
	Name  string
	Arch  string
	Date  time.Time
	Key   *Key
	Debs  []Deb
	Plain bool // Release and Release.gpg, and no InRelease
}

// Write writes the suite into the archive below dir. A suite of the same name is replaced; packages
// of other suites, and those that the suite had, stay.
func (s Suite) Write(dir string) error {
	index, err := s.pool(dir)
	if err != nil {
		return err
	}
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	if _, err := z.Write(index); err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return err
	}
	suite := filepath.Join(dir, "dists", filepath.FromSlash(s.Name))
	name := "main/binary-" + s.Arch + "/Packages"
	release := fmt.Sprintf("Origin: Test\nSuite: %s\nCodename: %s\nDate: %s\nArchitectures: %s\nComponents: main\nSHA256:\n",
		s.Name, s.Name, s.Date.UTC().Format(time.RFC1123), s.Arch)
	files := map[string][]byte{name: index, name + ".gz": packed.Bytes()}
	for _, n := range []string{name, name + ".gz"} {
		release += fmt.Sprintf(" %s %d %s\n", digest.FromBytes(files[n]).Encoded(), len(files[n]), n)
	}
	if err := s.sign([]byte(release), files); err != nil {
		return err
	}
	if err := os.RemoveAll(suite); err != nil {
		return err
	}
	for n, content := range files {
		if err := write(filepath.Join(suite, filepath.FromSlash(n)), content); err != nil {
			return err
		}
	}
	return nil
}

func (s Suite) sign(release []byte, files map[string][]byte) (err error) {
	if !s.Plain {
		files["InRelease"], err = s.Key.clearsign(release)
		return err
	}
	files["Release"] = release
	files["Release.gpg"], err = s.Key.detach(release)
	return err
}

// pool writes the packages and returns their index.
func (s Suite) pool(dir string) ([]byte, error) {
	var index strings.Builder
	for _, d := range s.Debs {
		content, err := d.Bytes()
		if err != nil {
			return nil, err
		}
		name := path.Join("pool", "main", d.Name, d.Version, d.File())
		if err := write(filepath.Join(dir, filepath.FromSlash(name)), content); err != nil {
			return nil, err
		}
		fmt.Fprintf(&index, "%sFilename: %s\nSize: %d\nSHA256: %s\n\n", d.control(), name, len(content), digest.FromBytes(content).Encoded())
	}
	return []byte(index.String()), nil
}

func write(file string, content []byte) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return os.WriteFile(file, content, 0o644)
}
