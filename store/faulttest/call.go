package faulttest

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// A kind is a system call that has to do with files.
type kind struct {
	name  string
	nr    uintptr
	files []operand
}

// An operand is an argument that names a file: a descriptor, or a path relative to one.
type operand struct{ fd, path int }

// self is the path of an operand whose descriptor is the file.
const self = -1

// creat is an openat that may make a file, and so may find the disk full.
const creat = "creat"

// kinds are the calls that the program is stopped at.
var kinds = []kind{
	{"openat", unix.SYS_OPENAT, []operand{{0, 1}}},
	{"read", unix.SYS_READ, []operand{{0, self}}},
	{"pread64", unix.SYS_PREAD64, []operand{{0, self}}},
	{"write", unix.SYS_WRITE, []operand{{0, self}}},
	{"pwrite64", unix.SYS_PWRITE64, []operand{{0, self}}},
	{"copy_file_range", unix.SYS_COPY_FILE_RANGE, []operand{{0, self}, {2, self}}},
	{"sendfile", unix.SYS_SENDFILE, []operand{{0, self}, {1, self}}},
	{"fsync", unix.SYS_FSYNC, []operand{{0, self}}},
	{"fdatasync", unix.SYS_FDATASYNC, []operand{{0, self}}},
	{"syncfs", unix.SYS_SYNCFS, []operand{{0, self}}},
	{"ftruncate", unix.SYS_FTRUNCATE, []operand{{0, self}}},
	{"fallocate", unix.SYS_FALLOCATE, []operand{{0, self}}},
	{"fchmod", unix.SYS_FCHMOD, []operand{{0, self}}},
	{"fchmodat", unix.SYS_FCHMODAT, []operand{{0, 1}}},
	{"utimensat", unix.SYS_UTIMENSAT, []operand{{0, 1}}},
	{"renameat", unix.SYS_RENAMEAT, []operand{{0, 1}, {2, 3}}},
	{"renameat2", unix.SYS_RENAMEAT2, []operand{{0, 1}, {2, 3}}},
	{"linkat", unix.SYS_LINKAT, []operand{{0, 1}, {2, 3}}},
	{"symlinkat", unix.SYS_SYMLINKAT, []operand{{1, 2}}},
	{"mkdirat", unix.SYS_MKDIRAT, []operand{{0, 1}}},
	{"unlinkat", unix.SYS_UNLINKAT, []operand{{0, 1}}},
	{"newfstatat", unix.SYS_NEWFSTATAT, []operand{{0, 1}}},
	{"fstat", unix.SYS_FSTAT, []operand{{0, self}}},
	{"getdents64", unix.SYS_GETDENTS64, []operand{{0, self}}},
	{"flock", unix.SYS_FLOCK, []operand{{0, self}}},
	{"mmap", unix.SYS_MMAP, []operand{{4, self}}},
}

// callOf reads what the kernel tells of a call, and the paths from the process that makes it.
func callOf(n *notification) Call {
	for _, k := range kinds {
		if k.nr != uintptr(n.nr) {
			continue
		}
		c := Call{Name: k.name}
		if k.nr == unix.SYS_OPENAT && n.args[2]&unix.O_CREAT != 0 {
			c.Name = creat
		}
		for _, o := range k.files {
			if p := pathOf(n, o); p != "" {
				c.Paths = append(c.Paths, p)
			}
		}
		return c
	}
	return Call{}
}

func pathOf(n *notification, o operand) string {
	fd := int32(n.args[o.fd])
	if o.path == self {
		return linkOf(n.pid, fd)
	}
	name := text(n.pid, n.args[o.path])
	switch {
	case name == "":
		return linkOf(n.pid, fd)
	case filepath.IsAbs(name):
		return filepath.Clean(name)
	default:
		return filepath.Join(linkOf(n.pid, fd), name)
	}
}

// linkOf returns the path of a descriptor, or nothing for what is no file.
func linkOf(pid uint32, fd int32) string {
	link := fmt.Sprintf("/proc/%d/fd/%d", pid, fd)
	if fd == unix.AT_FDCWD {
		link = fmt.Sprintf("/proc/%d/cwd", pid)
	}
	path, err := os.Readlink(link)
	if err != nil || !filepath.IsAbs(path) {
		return ""
	}
	return strings.TrimSuffix(path, " (deleted)")
}

// text reads the string at an address of another process.
func text(pid uint32, address uint64) string {
	if address == 0 {
		return ""
	}
	f, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	if err != nil {
		return ""
	}
	defer f.Close()
	b := make([]byte, unix.PathMax)
	read := 0
	for read < len(b) { // up to the end of a page at a time: the next one may not be there
		page := b[read:min(len(b), read+4096-int((address+uint64(read))%4096))]
		n, err := f.ReadAt(page, int64(address)+int64(read))
		if i := bytes.IndexByte(page[:n], 0); i >= 0 {
			return string(b[:read+i])
		}
		if read += n; err != nil {
			break
		}
	}
	return ""
}
