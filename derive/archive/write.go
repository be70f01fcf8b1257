package archive

import (
	"archive/tar"
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Options say how a tree is written.
type Options struct {
	// Prefix is put before each name. It is empty or ends with a slash; then the tree's root is a
	// member of its own, and otherwise it is none.
	Prefix string
	// Clamp is, in seconds since 1970, the latest mtime: later ones become it. A directory's always
	// does, because it tells when files came and went in it, which is no part of a tree.
	Clamp int64
	// Root gives everything to user and group 0. Otherwise owners are kept, as numbers.
	Root bool
	// Skip, if set, reports whether to leave out what is at rel, a slash-separated path relative to
	// the root, and all that is below it.
	Skip func(rel string, d fs.DirEntry) bool
}

// Write writes the tree below root as a canonical tar: the same tree and options give the same
// bytes. Members are sorted by the bytes of their paths, so that a directory comes before what is
// in it; times are whole seconds; the second name of a file is a hard link to the first. Nothing
// is said of user names, access times or inodes. Sockets are left out.
//
// The tree must not change meanwhile. When Write fails, what it wrote is of no use.
func Write(w io.Writer, root string, o Options) error {
	if o.Prefix != "" && !strings.HasSuffix(o.Prefix, "/") {
		return fmt.Errorf("write tar of %s: prefix %q does not end with a slash", root, o.Prefix)
	}
	paths, err := list(root, o)
	if err != nil {
		return fmt.Errorf("write tar of %s: %w", root, err)
	}
	buf := bufio.NewWriterSize(w, 1<<20)
	t := &writer{
		tar: tar.NewWriter(buf), root: root, options: o,
		links: make(map[inode]string), buffer: make([]byte, 256<<10),
	}
	for _, p := range paths {
		if err := t.add(p); err != nil {
			return fmt.Errorf("write tar of %s: %w", root, err)
		}
	}
	if err := errors.Join(t.tar.Close(), buf.Flush()); err != nil {
		return fmt.Errorf("write tar of %s: %w", root, err)
	}
	return nil
}

// list returns the members' paths, relative to root, sorted by their bytes. WalkDir's own order is
// another: it has a/b before a-b.
func list(root string, o Options) ([]string, error) {
	var paths []string
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name == root {
			if !d.IsDir() {
				return fmt.Errorf("%s is not a directory", root)
			}
			if o.Prefix != "" {
				paths = append(paths, "")
			}
			return nil
		}
		rel := strings.TrimPrefix(name[len(root):], "/")
		if o.Skip != nil && o.Skip(rel, d) {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if d.Type() != fs.ModeSocket {
			paths = append(paths, rel)
		}
		return nil
	})
	slices.Sort(paths)
	return paths, err
}

type inode struct{ dev, ino uint64 }

// writer is one call of Write.
type writer struct {
	tar     *tar.Writer
	root    string
	options Options
	links   map[inode]string // first name of each file that has several
	buffer  []byte
}

func (t *writer) add(rel string) error {
	name := filepath.Join(t.root, rel)
	var st unix.Stat_t
	if err := unix.Lstat(name, &st); err != nil {
		return &fs.PathError{Op: "lstat", Path: name, Err: err}
	}
	h := &tar.Header{
		Format: tar.FormatPAX, Name: t.options.Prefix + rel, Mode: int64(st.Mode & 0o7777),
		ModTime: time.Unix(min(st.Mtim.Sec, t.options.Clamp), 0),
	}
	if !t.options.Root {
		h.Uid, h.Gid = int(st.Uid), int(st.Gid)
	}
	if err := t.setType(h, name, &st); err != nil {
		return err
	}
	if h.Typeflag == tar.TypeReg || h.Typeflag == tar.TypeDir {
		if err := addXattrs(h, name); err != nil {
			return err
		}
	}
	if err := t.tar.WriteHeader(h); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if h.Typeflag != tar.TypeReg || h.Size == 0 {
		return nil
	}
	return t.content(name, h.Size)
}

// setType sets what depends on the type of the file.
func (t *writer) setType(h *tar.Header, name string, st *unix.Stat_t) (err error) {
	kind := st.Mode & unix.S_IFMT
	if kind != unix.S_IFDIR && st.Nlink > 1 {
		id := inode{st.Dev, st.Ino}
		if first, ok := t.links[id]; ok {
			h.Typeflag, h.Linkname = tar.TypeLink, first
			return nil
		}
		t.links[id] = h.Name
	}
	switch kind {
	case unix.S_IFREG:
		h.Typeflag, h.Size = tar.TypeReg, st.Size
	case unix.S_IFDIR:
		h.Typeflag, h.ModTime = tar.TypeDir, time.Unix(t.options.Clamp, 0)
		h.Name = strings.TrimSuffix(h.Name, "/") + "/"
	case unix.S_IFLNK:
		h.Typeflag = tar.TypeSymlink
		h.Linkname, err = os.Readlink(name)
	case unix.S_IFIFO:
		h.Typeflag = tar.TypeFifo
	case unix.S_IFCHR, unix.S_IFBLK:
		h.Typeflag = tar.TypeChar
		if kind == unix.S_IFBLK {
			h.Typeflag = tar.TypeBlock
		}
		h.Devmajor, h.Devminor = int64(unix.Major(st.Rdev)), int64(unix.Minor(st.Rdev))
	default:
		err = fmt.Errorf("%s: unknown file type %#o", name, kind)
	}
	return err
}

func (t *writer) content(name string, size int64) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	n, err := io.CopyBuffer(struct{ io.Writer }{t.tar}, struct{ io.Reader }{f}, t.buffer)
	if err != nil {
		return fmt.Errorf("copy %s: %w", name, err)
	}
	if n != size {
		return fmt.Errorf("copy %s: it had %d bytes, and then %d", name, size, n)
	}
	return nil
}

// addXattrs makes PAX records of the extended attributes that are part of a tree.
func addXattrs(h *tar.Header, name string) error {
	var names [4096]byte
	n, err := unix.Llistxattr(name, names[:])
	if err == unix.ENOTSUP || n == 0 && err == nil {
		return nil
	}
	if err != nil {
		return &fs.PathError{Op: "listxattr", Path: name, Err: err}
	}
	for attr := range strings.SplitSeq(strings.TrimSuffix(string(names[:n]), "\x00"), "\x00") {
		if !keptXattr(attr) {
			continue
		}
		value := make([]byte, 64<<10) // XATTR_SIZE_MAX
		n, err := unix.Lgetxattr(name, attr, value)
		if err != nil {
			return &fs.PathError{Op: "getxattr " + attr, Path: name, Err: err}
		}
		if h.PAXRecords == nil {
			h.PAXRecords = make(map[string]string)
		}
		h.PAXRecords[xattrPrefix+attr] = string(value[:n])
	}
	return nil
}
