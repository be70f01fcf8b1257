package python

import (
	"archive/zip"
	"bufio"
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/klauspost/compress/flate"
)

// Bounds on what a wheel may hold.
const (
	wheelFileLimit  = 2 << 30 // bytes of one file
	wheelEntryLimit = 200_000 // files
)

// A wheelInfo is what a wheel says of itself.
type wheelInfo struct {
	Name    string // normalized
	Version string
	Native  bool // it holds compiled code
}

// canonicalWheel writes the wheel in the file source to w in its canonical form: entries sorted,
// those of .dist-info last as installers like them, all of one time, mode 0644 or 0755, and RECORD
// written anew in the same order. What backends leave to chance is then gone: the order of folders,
// clocks, umasks, and the compressor, which is this module's own.
func canonicalWheel(w io.Writer, source string, when time.Time) (*wheelInfo, error) {
	r, err := zip.OpenReader(source)
	if err != nil {
		return nil, fmt.Errorf("read wheel: %w", err)
	}
	defer r.Close()
	files, info, err := wheelFiles(&r.Reader)
	if err != nil {
		return nil, err
	}
	out := zip.NewWriter(w)
	out.RegisterCompressor(zip.Deflate, func(w io.Writer) (io.WriteCloser, error) { return flate.NewWriter(w, 9) })
	c := &wheelWriter{zip: out, when: when.UTC()}
	meta := &wheelInfo{}
	for _, f := range files {
		if err := c.copy(f, info, meta); err != nil {
			return nil, fmt.Errorf("copy %s of wheel: %w", f.Name, err)
		}
	}
	if meta.Name == "" || meta.Version == "" {
		return nil, errors.New("read wheel: its METADATA gives no name and version")
	}
	if err := c.record(info + "/RECORD"); err != nil {
		return nil, err
	}
	return meta, out.Close()
}

// wheelFiles returns the files of a wheel in canonical order, without its RECORD, and the name of
// its .dist-info folder.
func wheelFiles(r *zip.Reader) (files []*zip.File, info string, err error) {
	if len(r.File) > wheelEntryLimit {
		return nil, "", fmt.Errorf("read wheel: %d files, at most %d are read", len(r.File), wheelEntryLimit)
	}
	seen := make(map[string]bool)
	for _, f := range r.File {
		switch {
		case strings.HasSuffix(f.Name, "/"):
			continue
		case f.Name == "" || path.IsAbs(f.Name) || path.Clean(f.Name) != f.Name || strings.HasPrefix(f.Name, "../") || strings.ContainsAny(f.Name, "\\\n\x00"):
			return nil, "", fmt.Errorf("read wheel: %q is not a clean path", f.Name)
		case seen[f.Name]:
			return nil, "", fmt.Errorf("read wheel: %s is there twice", f.Name)
		}
		seen[f.Name] = true
		if dir, base := path.Split(f.Name); strings.HasSuffix(dir, ".dist-info/") && strings.Count(dir, "/") == 1 && base == "METADATA" {
			info = strings.TrimSuffix(dir, "/")
		}
		files = append(files, f)
	}
	if info == "" {
		return nil, "", errors.New("read wheel: it has no .dist-info/METADATA")
	}
	files = slices.DeleteFunc(files, func(f *zip.File) bool { return f.Name == info+"/RECORD" })
	last := func(f *zip.File) int {
		if strings.HasPrefix(f.Name, info+"/") {
			return 1
		}
		return 0
	}
	slices.SortFunc(files, func(a, b *zip.File) int { return cmp.Or(last(a)-last(b), strings.Compare(a.Name, b.Name)) })
	return files, info, nil
}

type wheelWriter struct {
	zip  *zip.Writer
	when time.Time
	rows [][]string // of RECORD
}

func (c *wheelWriter) create(name string, executable bool) (io.Writer, error) {
	h := &zip.FileHeader{Name: name, Method: zip.Deflate, Modified: c.when}
	h.SetMode(0o644)
	if executable {
		h.SetMode(0o755)
	}
	return c.zip.CreateHeader(h)
}

// copy writes one file, and notes in meta what it tells of the wheel.
func (c *wheelWriter) copy(f *zip.File, info string, meta *wheelInfo) error {
	w, err := c.create(f.Name, f.Mode()&0o111 != 0)
	if err != nil {
		return err
	}
	r, err := f.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	buf := bufio.NewReaderSize(r, 64<<10)
	if head, _ := buf.Peek(4); string(head) == "\x7fELF" {
		meta.Native = true
	}
	sum := sha256.New()
	var text bytes.Buffer
	to := io.MultiWriter(w, sum)
	if f.Name == info+"/METADATA" {
		to = io.MultiWriter(w, sum, &text)
	}
	n, err := io.Copy(to, io.LimitReader(buf, wheelFileLimit+1))
	if err != nil {
		return err
	}
	if n > wheelFileLimit {
		return fmt.Errorf("more than %d bytes", int64(wheelFileLimit))
	}
	if text.Len() > 0 {
		meta.Name, meta.Version = parseMetadata(text.Bytes())
	}
	c.rows = append(c.rows, []string{f.Name, "sha256=" + base64.RawURLEncoding.EncodeToString(sum.Sum(nil)), strconv.FormatInt(n, 10)})
	return nil
}

func (c *wheelWriter) record(name string) error {
	w, err := c.create(name, false)
	if err != nil {
		return err
	}
	return csv.NewWriter(w).WriteAll(append(c.rows, []string{name, "", ""}))
}

// parseMetadata returns the normalized name and the version that a METADATA file gives.
func parseMetadata(b []byte) (name, version string) {
	for line := range strings.Lines(string(b)) {
		line = strings.TrimRight(line, "\r\n")
		if line == "" {
			break
		}
		key, value, _ := strings.Cut(line, ":")
		switch strings.ToLower(key) {
		case "name":
			name = normalize(strings.TrimSpace(value))
		case "version":
			version = strings.TrimSpace(value)
		}
	}
	return name, version
}

// newestFile returns the latest time that a wheel gives to one of its files.
func newestFile(wheel string) (time.Time, error) {
	r, err := zip.OpenReader(wheel)
	if err != nil {
		return time.Time{}, fmt.Errorf("read wheel %s: %w", path.Base(wheel), err)
	}
	defer r.Close()
	newest := zipEpoch()
	for _, f := range r.File {
		if m := f.Modified.UTC(); m.After(newest) {
			newest = m
		}
	}
	return newest, nil
}

// zipEpoch is the earliest time that a zip can hold.
func zipEpoch() time.Time { return time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC) }

// sourceTime returns the latest time that a source archive gives to one of its files: when the
// project was last worked on, whenever it is built.
func sourceTime(archive string) (time.Time, error) {
	if strings.HasSuffix(archive, ".zip") {
		return newestFile(archive)
	}
	f, err := os.Open(archive)
	if err != nil {
		return time.Time{}, err
	}
	defer f.Close()
	return newestMember(f)
}
