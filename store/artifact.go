package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// Has reports whether the store holds the whole artifact. What it holds stays at least until the
// store is closed.
func (s *Store) Has(id ArtifactID) (bool, error) {
	has, err := s.HasAll([]ArtifactID{id})
	return has[id], err
}

// Manifest returns the manifest of an artifact that the store holds, verified, or [ErrNotFound].
func (s *Store) Manifest(id ArtifactID) (*Manifest, error) {
	name := s.fanout(artifactDir, id.String())
	b, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("artifact %s: %w", id, ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("read manifest: %w", err)
	}
	if got := HashArtifact(b); got != id {
		return nil, fmt.Errorf("manifest %s: its hash is %s; the file is damaged", name, got)
	}
	m, err := DecodeManifest(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return m, nil
}

// PutManifest adds the artifact that m describes, whose content the store holds already.
func (s *Store) PutManifest(m *Manifest) (ArtifactID, error) {
	for _, e := range m.Entries {
		if !e.HasContent() {
			continue
		}
		if err := s.findBlob(e.Blob()); err != nil {
			return ArtifactID{}, fmt.Errorf("put artifact: %s: blob %s: %w", e.Path, e.Digest, err)
		}
	}
	return s.putManifest(m)
}

// putManifest is PutManifest for whoever has just seen that the content is there.
func (s *Store) putManifest(m *Manifest) (ArtifactID, error) {
	b, err := m.Encode()
	if err != nil {
		return ArtifactID{}, err
	}
	id := HashArtifact(b)
	if err := s.ensureFile(s.fanout(artifactDir, id.String()), b); err != nil {
		return ArtifactID{}, fmt.Errorf("put artifact %s: %w", id, err)
	}
	if err := s.update(func(ix index) error { return ix.putArtifact(id, m.Size()) }); err != nil {
		return ArtifactID{}, fmt.Errorf("put artifact %s: %w", id, err)
	}
	return id, nil
}

// AddTree moves the files below dir into the store as one artifact, with what m says of
// publication; m's entries are set from the tree. dir must be a folder made by [Store.TempDir];
// afterwards it holds nothing of value. Owners, times and extended attributes are not kept;
// devices, sockets and links that lead out of dir are refused.
func (s *Store) AddTree(ctx context.Context, dir string, m *Manifest) (ArtifactID, error) {
	entries, err := scanTree(dir)
	if err != nil {
		return ArtifactID{}, fmt.Errorf("add tree: %w", err)
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i := range entries {
		if !entries[i].HasContent() {
			continue
		}
		g.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			return hashEntry(dir, &entries[i])
		})
	}
	if err := g.Wait(); err != nil {
		return ArtifactID{}, fmt.Errorf("add tree: %w", err)
	}
	m.Entries = entries
	m.sort()
	if err := m.validate(); err != nil {
		return ArtifactID{}, fmt.Errorf("add tree: %w", err)
	}
	if err := s.moveBlobs(dir, entries); err != nil {
		return ArtifactID{}, fmt.Errorf("add tree: %w", err)
	}
	return s.putManifest(m)
}

// moveBlobs gives new content its final name.
func (s *Store) moveBlobs(dir string, entries []Entry) error {
	var fresh []Verified
	for _, e := range entries {
		if !e.HasContent() || s.HasBlob(e.Blob()) {
			continue
		}
		name := filepath.Join(dir, e.Path)
		if err := touch(name); err != nil {
			return err
		}
		fresh = append(fresh, Verified{name, e.Blob()})
	}
	return s.settle(fresh)
}

// SyncFileSystem makes durable what was written to the file system that a folder is on. From some dozens of files
// on, that costs less than a journal commit each.
func SyncFileSystem(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := unix.Syncfs(int(d.Fd())); err != nil {
		return fmt.Errorf("sync the file system of %s: %w", dir, err)
	}
	return nil
}

func scanTree(root string) ([]Entry, error) {
	var entries []Entry
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, name)
		if err != nil || rel == "." {
			return err
		}
		e := Entry{Path: filepath.ToSlash(rel)}
		switch d.Type() {
		case 0:
			fi, err := d.Info()
			if err != nil {
				return err
			}
			e.Type = File
			if fi.Mode()&0o100 != 0 {
				e.Type = Exec
			}
		case fs.ModeDir:
			children, err := os.ReadDir(name)
			if err != nil || len(children) > 0 {
				return err
			}
			e.Type = Dir
		case fs.ModeSymlink:
			e.Type = Symlink
			if e.Target, err = os.Readlink(name); err != nil {
				return err
			}
		default:
			return fmt.Errorf("%s: an artifact holds no %s", rel, d.Type())
		}
		entries = append(entries, e)
		return nil
	})
	return entries, err
}

func hashEntry(dir string, e *Entry) error {
	f, err := os.Open(filepath.Join(dir, e.Path))
	if err != nil {
		return err
	}
	defer f.Close()
	b, err := hashFile(f)
	if err != nil {
		return fmt.Errorf("hash %s: %w", e.Path, err)
	}
	e.Digest, e.Size = b.Digest, b.Size
	return f.Chmod(0o444)
}

// Materialize makes the artifact's tree at dir, which must not exist and must be in the store's
// file system. Plain files are hard links into the store: read them, never write to them. After an
// error dir may hold a part of the tree.
func (s *Store) Materialize(id ArtifactID, dir string) error {
	m, err := s.Manifest(id)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("materialize %s: %w", id, err)
	}
	for _, e := range m.Entries {
		name := filepath.Join(dir, filepath.FromSlash(e.Path))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return fmt.Errorf("materialize %s: %w", id, err)
		}
		if err := s.materialize(e, name); err != nil {
			return fmt.Errorf("materialize %s: %w", id, err)
		}
	}
	return nil
}

func (s *Store) materialize(e Entry, name string) error {
	switch e.Type {
	case Dir:
		return os.Mkdir(name, 0o755)
	case Symlink:
		return os.Symlink(e.Target, name)
	case File:
		err := os.Link(s.blobPath(e.Blob()), name)
		if errors.Is(err, unix.EMLINK) { // ext4 gives a file 65,000 names; there are many empty files
			return copyFile(s.blobPath(e.Blob()), name, 0o444)
		}
		return err
	default: // the blob's own mode has no x
		return copyFile(s.blobPath(e.Blob()), name, 0o755)
	}
}

// Tree returns the folder that holds the unpacked form of an artifact, which unpack makes in a
// folder that it is given. The result is kept for the next caller, in this process or another. Of
// goroutines that ask for one tree at a time, one unpacks it.
func (s *Store) Tree(id ArtifactID, unpack func(m *Manifest, dir string) error) (string, error) {
	name := s.path(treeDir, id.String())
	_, err, _ := s.trees.Do(name, func() (any, error) {
		if s.relyOnTree(name) {
			return nil, nil
		}
		return nil, s.makeTree(id, name, unpack)
	})
	if err != nil {
		return "", err
	}
	return name, nil
}

// used is the file whose time of change says when a tree was last used. That of the tree itself
// belongs to what it holds.
func used(tree string) string { return tree + usedSuffix }

const usedSuffix = ".used"

// relyOnTree is rely for a tree.
func (s *Store) relyOnTree(name string) bool {
	if _, err := os.Stat(name); err != nil {
		return false
	}
	if t, err := changed(used(name)); err == nil && t >= s.start {
		return true
	}
	return relied(s.touches.during(func() error {
		if _, err := os.Stat(name); err != nil {
			return err
		}
		return os.WriteFile(used(name), nil, 0o644)
	}))
}

func (s *Store) makeTree(id ArtifactID, name string, unpack func(m *Manifest, dir string) error) error {
	m, err := s.Manifest(id)
	if err != nil {
		return err
	}
	tmp, err := s.TempDir("tree")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	if err := unpack(m, tmp); err != nil {
		return fmt.Errorf("unpack %s: %w", id, err)
	}
	if err := os.Chmod(tmp, 0o755); err != nil {
		return fmt.Errorf("unpack %s: %w", id, err)
	}
	// Without this, a tree could have its name and not its content after a power cut.
	if err := SyncFileSystem(tmp); err != nil {
		return fmt.Errorf("unpack %s: %w", id, err)
	}
	if err := os.WriteFile(used(name), nil, 0o644); err != nil {
		return fmt.Errorf("unpack %s: %w", id, err)
	}
	if err := os.Rename(tmp, name); err != nil && !s.relyOnTree(name) { // another process may have been faster
		return fmt.Errorf("unpack %s: %w", id, err)
	}
	return nil
}
