package apt

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/opencontainers/go-digest"
)

// writeIndexes writes the Packages files and Release below dir. Every file but Release can also be
// read by its hash, so that a client never mixes the indexes of two publications. SHA-256 is the
// only hash: apt has read it since 2007, and refuses what only has weaker ones.
func (r *repository) writeIndexes(entries []entry, dir string) error {
	var sums []string
	for _, arch := range r.Architectures {
		plain, err := packagesIndex(entries, arch)
		if err != nil {
			return err
		}
		packed, err := compress(plain)
		if err != nil {
			return err
		}
		name := path.Join(r.Component, "binary-"+arch, "Packages")
		for _, f := range []struct {
			name    string
			content []byte
		}{{name, plain}, {name + ".gz", packed}} {
			sum, err := writeIndex(dir, f.name, f.content)
			if err != nil {
				return fmt.Errorf("write index: %w", err)
			}
			sums = append(sums, fmt.Sprintf(" %s %8d %s\n", sum.Encoded(), len(f.content), f.name))
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "Release"), r.release(sums), 0o644); err != nil {
		return fmt.Errorf("write index: %w", err)
	}
	return nil
}

// packagesIndex returns the Packages file of one architecture.
func packagesIndex(entries []entry, arch string) ([]byte, error) {
	var b bytes.Buffer
	w := bufio.NewWriter(&b)
	for _, e := range entries {
		if !e.MatchesArchitecture(arch) {
			continue
		}
		stanza := e.Stanza()
		stanza["Filename"] = e.filename
		if err := stanza.WriteTo(w, false, false, false); err != nil {
			return nil, err
		}
		w.WriteByte('\n')
	}
	err := w.Flush()
	return b.Bytes(), err
}

func compress(plain []byte) ([]byte, error) {
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(plain); err != nil {
		return nil, err
	}
	err = w.Close()
	return b.Bytes(), err
}

// writeIndex writes one index file, under its name and under its hash.
func writeIndex(dir, name string, content []byte) (digest.Digest, error) {
	file := filepath.Join(dir, filepath.FromSlash(name))
	sum := digest.FromBytes(content)
	byHash := filepath.Join(filepath.Dir(file), "by-hash", "SHA256", sum.Encoded())
	if err := os.MkdirAll(filepath.Dir(byHash), 0o755); err != nil {
		return "", err
	}
	if err := os.WriteFile(file, content, 0o644); err != nil {
		return "", err
	}
	return sum, os.Link(file, byHash)
}

// release returns the Release file. It has no Valid-Until: a release of ours does not expire.
func (r *repository) release(sums []string) []byte {
	slices.Sort(sums)
	var b bytes.Buffer
	for _, f := range [][2]string{
		{"Origin", "rpcbuild"},
		{"Label", r.Label},
		{"Suite", r.Suite},
		{"Codename", r.Suite},
		{"Date", time.Unix(r.Time, 0).UTC().Format(time.RFC1123)},
		{"Acquire-By-Hash", "yes"},
		{"Architectures", strings.Join(r.Architectures, " ")},
		{"Components", r.Component},
	} {
		fmt.Fprintf(&b, "%s: %s\n", f[0], f[1])
	}
	b.WriteString("SHA256:\n")
	for _, s := range sums {
		b.WriteString(s)
	}
	return b.Bytes()
}
