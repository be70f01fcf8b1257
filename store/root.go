package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
)

// A Root keeps what it names from gc: a release as it was realized or pulled, or a pin.
type Root struct {
	// Release is the release's name, Lock the digest of its lock's text; a pin may have neither.
	Release string        `json:"release,omitempty"`
	Lock    digest.Digest `json:"lock,omitempty"`
	// Time is when it was last realized, in UTC, to the second.
	Time  time.Time  `json:"time"`
	Items []RootItem `json:"items"` // sorted by name

	Path string `json:"-"` // of its file
	Pin  string `json:"-"` // the name of a pin
}

// A RootItem is one artifact that a root keeps, with the derivation that gave it. One of the two may
// be zero.
type RootItem struct {
	Name     string     `json:"name"`
	Drv      DrvID      `json:"drv"`
	Artifact ArtifactID `json:"artifact"`
}

const (
	releaseRoots = "release" // <name>/<number>, in order of time
	pinRoots     = "pin"     // <name>
)

// AddRoot keeps a release from gc, durably. While the lock is the newest root's, that one is renewed:
// what it named and r does not, because other stages were realized or nobody asked for it, stays in it.
func (s *Store) AddRoot(ctx context.Context, r Root) error {
	if err := checkRootName(r.Release); err != nil {
		return fmt.Errorf("add root: %w", err)
	}
	unlock, err := lock(ctx, s.path(lockDir, "root-"+r.Release), nil)
	if err != nil {
		return fmt.Errorf("add root of %s: %w", r.Release, err)
	}
	defer unlock()
	dir := s.path(rootDir, releaseRoots, r.Release)
	numbers, err := names(dir)
	if err != nil {
		return fmt.Errorf("add root of %s: %w", r.Release, err)
	}
	r.Path = filepath.Join(dir, "00000001")
	if n := len(numbers); n > 0 {
		newest, err := readRoot(filepath.Join(dir, numbers[n-1])) // one that is damaged stays for repair
		number, _ := strconv.Atoi(numbers[n-1])
		r.Path = filepath.Join(dir, fmt.Sprintf("%08d", number+1))
		if err == nil && newest.Lock == r.Lock {
			r.Path, r.Items = newest.Path, mergeItems(newest.Items, r.Items)
		}
	}
	if err := s.writeRoot(r); err != nil {
		return fmt.Errorf("add root of %s: %w", r.Release, err)
	}
	return nil
}

func mergeItems(old, now []RootItem) []RootItem {
	names := make(map[string]bool, len(now))
	for _, it := range now {
		names[it.Name] = true
	}
	merged := slices.Clone(now)
	for _, it := range old {
		if !names[it.Name] {
			merged = append(merged, it)
		}
	}
	return merged
}

// AddPin keeps what r names from gc until [Store.RemovePin]. A pin of that name is replaced.
func (s *Store) AddPin(name string, r Root) error {
	if err := checkRootName(name); err != nil {
		return fmt.Errorf("pin: %w", err)
	}
	r.Path = s.path(rootDir, pinRoots, name)
	if err := s.writeRoot(r); err != nil {
		return fmt.Errorf("pin %s: %w", name, err)
	}
	return nil
}

// RemovePin ends a pin. What it kept is there until gc.
func (s *Store) RemovePin(name string) error {
	if err := checkRootName(name); err != nil {
		return fmt.Errorf("unpin: %w", err)
	}
	err := os.Remove(s.path(rootDir, pinRoots, name))
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("unpin %s: %w (store roots lists the pins)", name, ErrNotFound)
	}
	if err != nil {
		return fmt.Errorf("unpin %s: %w", name, err)
	}
	return syncDir(s.path(rootDir, pinRoots))
}

func (s *Store) writeRoot(r Root) error {
	r.Time = r.Time.UTC().Truncate(time.Second)
	slices.SortFunc(r.Items, func(a, b RootItem) int { return strings.Compare(a.Name, b.Name) })
	text, err := CanonicalJSON(r)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(r.Path), 0o755); err != nil {
		return err
	}
	for _, dir := range []string{s.path(rootDir), filepath.Dir(filepath.Dir(r.Path))} {
		if err := syncDir(dir); err != nil {
			return err
		}
	}
	return s.writeFile(r.Path, seal(append(text, '\n')))
}

// rootPaths returns the files of all roots: those of a release from the oldest to the newest, then the
// pins.
func (s *Store) rootPaths() ([]string, error) {
	releases, err := names(s.path(rootDir, releaseRoots))
	if err != nil {
		return nil, fmt.Errorf("list roots: %w", err)
	}
	dirs := make([]string, 0, len(releases)+1)
	for _, r := range releases {
		dirs = append(dirs, s.path(rootDir, releaseRoots, r))
	}
	var paths []string
	for _, dir := range append(dirs, s.path(rootDir, pinRoots)) {
		files, err := names(dir)
		if err != nil {
			return nil, fmt.Errorf("list roots: %w", err)
		}
		for _, f := range files {
			paths = append(paths, filepath.Join(dir, f))
		}
	}
	return paths, nil
}

// Roots returns all roots, those of a release from the oldest to the newest, then the pins. One
// that is damaged is an error, because gc must not take it for one that is not there.
func (s *Store) Roots() ([]Root, error) {
	paths, err := s.rootPaths()
	if err != nil {
		return nil, err
	}
	var all []Root
	for _, path := range paths {
		r, err := readRoot(path)
		if gone(err) { // it was dropped meanwhile
			continue
		}
		if err != nil {
			return nil, err
		}
		if filepath.Dir(path) == s.path(rootDir, pinRoots) {
			r.Pin = filepath.Base(path)
		}
		all = append(all, r)
	}
	return all, nil
}

func readRoot(path string) (Root, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return Root{}, fmt.Errorf("read root: %w", err)
	}
	r := Root{Path: path}
	text, err := unseal(b)
	if err == nil {
		err = json.Unmarshal(text, &r) // a Decoder copies the text, which has 40 MB for 200,000 artifacts
	}
	if err != nil {
		return r, fmt.Errorf("read root %s: %w (rpcbuild store repair takes it out)", path, err)
	}
	return r, nil
}

// names lists a folder that may be missing, sorted.
func names(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var all []string
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all, err
}

// checkRootName refuses what would be no name in a folder.
func checkRootName(name string) error {
	if !cleanPath(name) || strings.ContainsAny(name, "/") || strings.HasPrefix(name, ".") {
		return fmt.Errorf("name %q: want one without slashes that begins with no dot", name)
	}
	return nil
}
