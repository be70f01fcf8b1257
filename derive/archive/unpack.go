package archive

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Unpack unpacks the tar that r gives into the folder dir, which exists: content, modes with setuid
// bits, mtimes, hard links, the extended attributes that [Write] writes, and, for root, owners by
// number and devices. For anybody else everything belongs to the caller, and devices are an error.
//
// Nothing is made, changed or read outside of dir, whatever the tar says. Names that are absolute or
// lead upwards are refused. A symbolic link on the way to a member is followed as if dir were the
// root directory, as in a chroot, and a directory that is already there, also by way of a link, is
// used; anything else in the way of a member is replaced. So the packages of a Debian system whose
// /lib is a link to usr/lib unpack on top of one another.
//
// An error leaves in dir what was unpacked before it.
func Unpack(r io.Reader, dir string) error {
	root, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("unpack tar: %w", &fs.PathError{Op: "open", Path: dir, Err: err})
	}
	u := &unpacker{root: root, parent: -1, owners: os.Geteuid() == 0, buffer: make([]byte, 256<<10)}
	defer u.close()
	t := tar.NewReader(r)
	for {
		h, err := t.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return fmt.Errorf("unpack tar: %w", err)
		}
		if err := u.member(h, t); err != nil {
			return fmt.Errorf("unpack tar: member %q: %w", h.Name, err)
		}
	}
	if err := u.setDirTimes(); err != nil {
		return fmt.Errorf("unpack tar: %w", err)
	}
	return nil
}

// unpacker is one call of Unpack. Every path is resolved by openat2 with RESOLVE_IN_ROOT, and then
// only the last part of it is used, relative to the open parent and without following it. (os.Root
// refuses absolute links, and has no devices, owners of links or extended attributes.)
type unpacker struct {
	root int // the folder, as a file descriptor

	// The last parent is kept open: members of one directory mostly follow one another. Whatever
	// would make it stale is a member with another parent.
	parentPath string
	parent     int

	dirs   []dirTime
	owners bool
	buffer []byte
}

// dirTime is a directory's mtime, which is set when nothing more is made in it.
type dirTime struct {
	path string
	time time.Time
}

func (u *unpacker) close() {
	if u.parent >= 0 {
		unix.Close(u.parent)
	}
	unix.Close(u.root)
}

// place is where a member goes: an open directory and a name in it.
type place struct {
	dir  int
	name string
}

func (u *unpacker) member(h *tar.Header, content io.Reader) error {
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeDir, tar.TypeSymlink, tar.TypeLink, tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
	case tar.TypeXGlobalHeader:
		return nil
	default:
		return fmt.Errorf("unknown type %q", h.Typeflag)
	}
	// A sparse member may claim to be of any size, all of it zeros.
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return errors.New("sparse files are not supported")
		}
	}
	name, err := cleanName(h.Name)
	if err != nil {
		return err
	}
	if name == "." {
		return u.top(h)
	}
	if err := u.enter(path.Dir(name)); err != nil {
		return err
	}
	at := place{u.parent, path.Base(name)}
	if h.Typeflag == tar.TypeDir {
		return u.directory(at, name, h)
	}
	return u.make(at, h, content)
}

// cleanName returns a member's path below the root.
func cleanName(name string) (string, error) {
	switch {
	case name == "", strings.ContainsRune(name, 0):
		return "", fmt.Errorf("want a path, not %q", name)
	case path.IsAbs(name):
		return "", fmt.Errorf("path %q is absolute", name)
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == ".." {
			return "", fmt.Errorf("path %q leads upwards", name)
		}
	}
	return path.Clean(name), nil
}

// enter opens the directory at rel as the parent of what comes, and makes it if it is missing.
func (u *unpacker) enter(rel string) error {
	if u.parent >= 0 && u.parentPath == rel {
		return nil
	}
	fd, err := u.open(rel, unix.O_PATH|unix.O_DIRECTORY)
	if err == unix.ENOENT && rel != "." {
		if err := u.enter(path.Dir(rel)); err != nil {
			return err
		}
		if err := unix.Mkdirat(u.parent, path.Base(rel), 0o755); err != nil {
			return &fs.PathError{Op: "mkdir", Path: rel, Err: err}
		}
		fd, err = u.open(rel, unix.O_PATH|unix.O_DIRECTORY)
	}
	if err != nil {
		return &fs.PathError{Op: "open directory", Path: rel, Err: err}
	}
	if u.parent >= 0 {
		unix.Close(u.parent)
	}
	u.parent, u.parentPath = fd, rel
	return nil
}

// open opens what is at rel below the root, as in a chroot.
func (u *unpacker) open(rel string, flags uint64) (int, error) {
	how := unix.OpenHow{Flags: flags | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS}
	for {
		fd, err := unix.Openat2(u.root, rel, &how)
		if err != unix.EINTR && err != unix.EAGAIN { // EAGAIN: something was renamed meanwhile
			return fd, err
		}
	}
}

// top takes the mode, owner and time of the folder itself.
func (u *unpacker) top(h *tar.Header) error {
	if h.Typeflag != tar.TypeDir {
		return errors.New("the root is no directory")
	}
	if err := u.enter("."); err != nil {
		return err
	}
	u.dirs = append(u.dirs, dirTime{".", h.ModTime})
	return u.attributes(place{u.parent, "."}, h)
}

func (u *unpacker) directory(at place, name string, h *tar.Header) error {
	err := unix.Mkdirat(at.dir, at.name, 0o700)
	if err == unix.EEXIST {
		var st unix.Stat_t
		if err := unix.Fstatat(at.dir, at.name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return err
		}
		if st.Mode&unix.S_IFMT != unix.S_IFDIR {
			fd, err := u.open(name, unix.O_PATH|unix.O_DIRECTORY)
			if err != nil {
				return fmt.Errorf("something that is no directory is in the way: %w", err)
			}
			return unix.Close(fd) // a link to a directory stays
		}
	} else if err != nil {
		return err
	}
	u.dirs = append(u.dirs, dirTime{name, h.ModTime})
	return u.attributes(at, h)
}

// make makes anything but a directory, in place of whatever but a directory is there.
func (u *unpacker) make(at place, h *tar.Header, content io.Reader) error {
	err := u.create(at, h, content)
	if err == unix.EEXIST {
		if err := unix.Unlinkat(at.dir, at.name, 0); err != nil {
			return fmt.Errorf("replace what is there: %w", err)
		}
		err = u.create(at, h, content)
	}
	if err != nil || h.Typeflag == tar.TypeLink {
		return err
	}
	if err := u.attributes(at, h); err != nil {
		return err
	}
	return u.setTime(at, h.ModTime)
}

// create returns unix.EEXIST itself, and has read nothing then, if something is there.
func (u *unpacker) create(at place, h *tar.Header, content io.Reader) error {
	switch h.Typeflag {
	case tar.TypeSymlink:
		return unix.Symlinkat(h.Linkname, at.dir, at.name)
	case tar.TypeLink:
		return u.link(at, h.Linkname)
	case tar.TypeFifo:
		return unix.Mknodat(at.dir, at.name, unix.S_IFIFO|0o600, 0)
	case tar.TypeChar, tar.TypeBlock:
		mode := uint32(unix.S_IFCHR)
		if h.Typeflag == tar.TypeBlock {
			mode = unix.S_IFBLK
		}
		dev := unix.Mkdev(uint32(h.Devmajor), uint32(h.Devminor))
		return unix.Mknodat(at.dir, at.name, mode|0o600, int(dev))
	default:
		return u.file(at, h, content)
	}
}

func (u *unpacker) file(at place, h *tar.Header, content io.Reader) error {
	fd, err := unix.Openat(at.dir, at.name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), h.Name)
	_, err = io.CopyBuffer(struct{ io.Writer }{f}, struct{ io.Reader }{content}, u.buffer)
	return errors.Join(err, f.Close())
}

// link gives a second name to a member, never to anything that a symbolic link leads to.
func (u *unpacker) link(at place, target string) error {
	target, err := cleanName(target)
	if err != nil {
		return fmt.Errorf("hard link: %w", err)
	}
	fd, err := u.open(path.Dir(target), unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return fmt.Errorf("hard link to %q: %w", target, err)
	}
	defer unix.Close(fd)
	err = unix.Linkat(fd, path.Base(target), at.dir, at.name, 0)
	if err != nil && err != unix.EEXIST {
		return fmt.Errorf("hard link to %q: %w", target, err)
	}
	return err
}

// attributes sets owner, mode and extended attributes, in the order in which one does not clear
// the other.
func (u *unpacker) attributes(at place, h *tar.Header) error {
	if u.owners {
		if err := unix.Fchownat(at.dir, at.name, h.Uid, h.Gid, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return fmt.Errorf("change owner: %w", err)
		}
	}
	if h.Typeflag == tar.TypeSymlink {
		return nil
	}
	// What was just made here is no link, so following it is not a danger.
	if err := unix.Fchmodat(at.dir, at.name, uint32(h.Mode&0o7777), 0); err != nil {
		return fmt.Errorf("change mode: %w", err)
	}
	for key, value := range h.PAXRecords {
		name, ok := strings.CutPrefix(key, xattrPrefix)
		if !ok || !keptXattr(name) {
			continue
		}
		file := fmt.Sprintf("/proc/self/fd/%d/%s", at.dir, at.name)
		if err := unix.Lsetxattr(file, name, []byte(value), 0); err != nil {
			return fmt.Errorf("set extended attribute %s: %w", name, err)
		}
	}
	return nil
}

func (u *unpacker) setTime(at place, mtime time.Time) error {
	ts := unix.Timespec{Sec: mtime.Unix(), Nsec: int64(mtime.Nanosecond())}
	if err := unix.UtimesNanoAt(at.dir, at.name, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("change time: %w", err)
	}
	return nil
}

// setDirTimes sets the times of directories, the deepest first. One that a later member replaced
// or moved out of reach has none to set.
func (u *unpacker) setDirTimes() error {
	for i := len(u.dirs) - 1; i >= 0; i-- {
		d := u.dirs[i]
		fd, err := u.open(d.path, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW)
		if err != nil {
			continue
		}
		err = u.setTime(place{fd, "."}, d.time)
		unix.Close(fd)
		if err != nil {
			return fmt.Errorf("directory %q: %w", d.path, err)
		}
	}
	return nil
}
