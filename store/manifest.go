package store

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/opencontainers/go-digest"
)

// A Manifest says what an artifact is: its files, where they are published, and which lines it
// adds to indexes that artifacts share. All of it is identity: the artifact's id is the hash of
// the manifest's canonical form (see [Manifest.Encode]).
type Manifest struct {
	// Entries are the files, sorted by path. A directory is listed only if it is empty.
	Entries []Entry `json:"entries"`
	// Publish says where files appear under the web root, sorted by path.
	Publish []Publication `json:"publish,omitempty"`
	// Lines are what the artifact adds to shared indexes, sorted by file and key.
	Lines []Line `json:"lines,omitempty"`
}

// Type tells what an entry is.
type Type string

// The types of entries. An artifact has no owners, times, or permissions but these: what needs
// more is a file in it, such as a canonical tar.
const (
	File    Type = "file"    // plain file, mode 0644
	Exec    Type = "exec"    // executable file, mode 0755
	Dir     Type = "dir"     // empty directory
	Symlink Type = "symlink" // symbolic link, never out of the artifact
)

// An Entry is one file of an artifact.
type Entry struct {
	// Path is slash-separated, relative and clean.
	Path string `json:"path"`
	Type Type   `json:"type"`
	// Digest and Size are those of the raw bytes of a File or an Exec.
	Digest digest.Digest `json:"digest,omitempty"`
	Size   int64         `json:"size,omitempty"`
	// Target is what a Symlink holds.
	Target string `json:"target,omitempty"`
}

// Blob returns the content of a File or an Exec.
func (e Entry) Blob() Blob { return Blob{Digest: e.Digest, Size: e.Size} }

// HasContent reports whether the entry is a File or an Exec.
func (e Entry) HasContent() bool { return e.Type == File || e.Type == Exec }

// A Publication is one name under the web root of rpc-repo.
type Publication struct {
	// Path is where, relative to the web root.
	Path string `json:"path"`
	// File is the path of the artifact's file that is published there.
	File string `json:"file,omitempty"`
	// Link is, instead of File, another path under the web root that this one is a link to.
	Link string `json:"link,omitempty"`
	// Sign asks for envelopes beside the file: [SignRelease] or nothing.
	Sign string `json:"sign,omitempty"`
}

// SignRelease asks the publisher for the two signatures that apt knows: InRelease and Release.gpg
// beside the file, which is an apt repository's Release.
const SignRelease = "openpgp-release"

// A Line is an artifact's line in an index that it shares with other artifacts, such as the
// images' meta/1.0/index-system. A file holds one line a key.
type Line struct {
	File string `json:"file"`
	Key  string `json:"key"`
	Line string `json:"line"`
}

// ManifestLimit is the largest canonical manifest that is read, in bytes: room for 500,000 files.
const ManifestLimit = 128 << 20

// Encode returns the canonical form: JSON without white space, keys in the order of the struct's
// fields, lists sorted, UTF-8 with nothing escaped that need not be. It sorts m's lists.
func (m *Manifest) Encode() ([]byte, error) {
	m.sort()
	if err := m.validate(); err != nil {
		return nil, err
	}
	return CanonicalJSON(m)
}

func (m *Manifest) sort() {
	slices.SortFunc(m.Entries, func(a, b Entry) int { return strings.Compare(a.Path, b.Path) })
	slices.SortFunc(m.Publish, func(a, b Publication) int { return strings.Compare(a.Path, b.Path) })
	slices.SortFunc(m.Lines, func(a, b Line) int {
		return cmp.Or(strings.Compare(a.File, b.File), strings.Compare(a.Key, b.Key))
	})
	if m.Entries == nil {
		m.Entries = []Entry{}
	}
}

// ID returns the artifact's id.
func (m *Manifest) ID() (ArtifactID, error) {
	b, err := m.Encode()
	if err != nil {
		return ArtifactID{}, err
	}
	return HashArtifact(b), nil
}

// DecodeManifest reads a manifest. It refuses what is not canonical, so that a manifest has one
// form, and every path that would lead out of the artifact or of the web root.
func DecodeManifest(b []byte) (*Manifest, error) {
	if len(b) > ManifestLimit {
		return nil, fmt.Errorf("decode manifest: %d bytes, at most %d are read", len(b), ManifestLimit)
	}
	var m Manifest
	if err := json.Unmarshal(b, &m); err != nil {
		return nil, fmt.Errorf("decode manifest: %w", err)
	}
	again, err := m.Encode()
	if err != nil {
		return nil, fmt.Errorf("decode manifest: %w", err)
	}
	if !bytes.Equal(b, again) {
		return nil, fmt.Errorf("decode manifest: not in canonical form")
	}
	return &m, nil
}

// SingleFile returns the manifest of the artifact that is one plain file.
func SingleFile(name string, b Blob) *Manifest {
	return &Manifest{Entries: []Entry{{Path: name, Type: File, Digest: b.Digest, Size: b.Size}}}
}

// Size returns the number of raw bytes of the artifact's files.
func (m *Manifest) Size() int64 {
	var n int64
	for _, e := range m.Entries {
		n += e.Size
	}
	return n
}

// Lookup returns the entry at path.
func (m *Manifest) Lookup(p string) (Entry, bool) {
	i, ok := slices.BinarySearchFunc(m.Entries, p, func(e Entry, p string) int { return strings.Compare(e.Path, p) })
	if !ok {
		return Entry{}, false
	}
	return m.Entries[i], true
}

// validate checks m, whose lists are sorted.
func (m *Manifest) validate() error {
	names := make(map[string]bool, len(m.Entries)) // of everything but parents
	for _, e := range m.Entries {
		if !cleanPath(e.Path) {
			return fmt.Errorf("manifest path %q: want a clean relative path", e.Path)
		}
		if names[e.Path] {
			return fmt.Errorf("manifest path %q: listed twice", e.Path)
		}
		names[e.Path] = true
		if err := e.validate(); err != nil {
			return fmt.Errorf("manifest path %q: %w", e.Path, err)
		}
	}
	for _, e := range m.Entries {
		for dir := parent(e.Path); dir != ""; dir = parent(dir) {
			if names[dir] {
				return fmt.Errorf("manifest path %q: %q is not a directory that holds files", e.Path, dir)
			}
		}
	}
	for i, p := range m.Publish {
		switch {
		case !cleanPath(p.Path):
			return fmt.Errorf("published path %q: want a clean relative path", p.Path)
		case i > 0 && m.Publish[i-1].Path == p.Path:
			return fmt.Errorf("published path %q: listed twice", p.Path)
		case (p.File == "") == (p.Link == ""):
			return fmt.Errorf("published path %q: want either a file or a link", p.Path)
		case p.Link != "" && !cleanPath(p.Link):
			return fmt.Errorf("published path %q: link %q is not a clean relative path", p.Path, p.Link)
		case p.Sign != "" && p.Sign != SignRelease:
			return fmt.Errorf("published path %q: unknown signature %q", p.Path, p.Sign)
		}
		if p.File != "" {
			if e, ok := m.Lookup(p.File); !ok || !e.HasContent() {
				return fmt.Errorf("published path %q: the artifact has no file %q", p.Path, p.File)
			}
		}
	}
	for i, l := range m.Lines {
		if !cleanPath(l.File) || l.Key == "" || !oneLine(l.Key) || !oneLine(l.Line) {
			return fmt.Errorf("index line %q of %q: want a clean path, a key and one line", l.Key, l.File)
		}
		if i > 0 && m.Lines[i-1].File == l.File && m.Lines[i-1].Key == l.Key {
			return fmt.Errorf("index line %q of %q: listed twice", l.Key, l.File)
		}
	}
	return nil
}

func (e Entry) validate() error {
	switch e.Type {
	case File, Exec:
		if e.Target != "" || e.Size < 0 {
			return fmt.Errorf("a %s has a digest and a size", e.Type)
		}
		sum, ok := strings.CutPrefix(string(e.Digest), "sha256:") // Digest.Validate has regular expressions, and there are 100,000 files
		if _, err := parseID(sum); !ok || err != nil {
			return fmt.Errorf("digest %q is not a SHA-256", e.Digest)
		}
	case Dir:
		if e.Digest != "" || e.Size != 0 || e.Target != "" {
			return fmt.Errorf("a dir has no content")
		}
	case Symlink:
		if e.Digest != "" || e.Size != 0 || e.Target == "" {
			return fmt.Errorf("a symlink has a target")
		}
		if !staysInside(e.Path, e.Target) {
			return fmt.Errorf("link to %q leads out of the artifact", e.Target)
		}
	default:
		return fmt.Errorf("unknown type %q", e.Type)
	}
	return nil
}

// cleanPath reports whether p is relative, slash-separated, clean, and stays where it is.
func cleanPath(p string) bool {
	return p != "" && p != "." && p != ".." && !path.IsAbs(p) && path.Clean(p) == p &&
		!strings.HasPrefix(p, "../") && oneLine(p)
}

// parent returns the folder that a clean path is in; empty: none.
func parent(p string) string { return p[:max(strings.LastIndexByte(p, '/'), 0)] }

// oneLine reports whether s has one form in JSON and in line-based indexes: JSON has no bytes that
// are not UTF-8, its encoder replaces them.
func oneLine(s string) bool { return utf8.ValidString(s) && !strings.ContainsAny(s, "\x00\n") }

// staysInside reports whether a link at name leads to a file or folder of the artifact, through
// whatever other links. It may go up only at the beginning, where it passes real folders: after
// another link, ".." is no longer the folder that one reads.
func staysInside(name, target string) bool {
	down := target
	for strings.HasPrefix(down, "../") {
		down = strings.TrimLeft(down[len("../"):], "/")
	}
	if path.IsAbs(target) || down != ".." && slices.Contains(strings.Split(down, "/"), "..") {
		return false
	}
	return cleanPath(path.Join(path.Dir(name), target)) && oneLine(target)
}

// CanonicalJSON is the encoding under every id: JSON without white space and without HTML
// escapes, struct fields in order of their declaration, map keys sorted.
func CanonicalJSON(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, fmt.Errorf("encode canonical JSON: %w", err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
