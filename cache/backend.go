package cache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// A Backend reads a tree of files. Paths are relative to the web root, slash-separated and clean;
// others are refused. Methods are safe for concurrent use. What is not there is an error that wraps
// fs.ErrNotExist; a place that does not answer at all is one that wraps [ErrUnreachable].
type Backend interface {
	// Get opens a file, following links under the web root. Its size is -1 if it is not known.
	Get(ctx context.Context, path string) (body io.ReadCloser, size int64, err error)
	// GetChanged is Get for whoever has read a file that changes, with the tag that it had then,
	// which is empty for one that has not. Where it has that tag still, the error wraps
	// [ErrNotChanged]. The new tag is empty if the place knows none.
	GetChanged(ctx context.Context, path, tag string) (body io.ReadCloser, newTag string, err error)
	// GetRange opens size bytes of a file, from offset on. Of one that ends before, fewer come, or the error
	// wraps [ErrShort]. A server that does not know how to is an error that wraps [ErrNoRanges].
	GetRange(ctx context.Context, path string, offset, size int64) (io.ReadCloser, error)
	// Stat returns the size of a file in bytes.
	Stat(ctx context.Context, path string) (int64, error)
	// String returns the URL, without a password.
	String() string
	Close() error
}

// ErrNotChanged says that a file is still the one that was read before.
var ErrNotChanged = errors.New("not changed")

var (
	// ErrNoRanges says that a server only sends files whole.
	ErrNoRanges = errors.New("the server sends files only whole")
	// ErrShort says that a file ends before a range of it begins.
	ErrShort = errors.New("the file ends before that")
)

// A FileInfo describes a file of a [Writer].
type FileInfo struct {
	Path string    // under the web root
	Size int64     // in bytes
	Time time.Time // when it was written
}

// A Writer also writes. A file's content is complete and durable before the file has its name;
// names are durable after Flush. Parent folders are made as needed.
type Writer interface {
	Backend
	// Put makes a file whose name decides its content. It may have its name only after the next
	// Flush, so that many of them can be made durable at once. What is there is replaced.
	Put(ctx context.Context, path string, content io.Reader) error
	// Create makes a file that must not exist: otherwise the error wraps fs.ErrExist, and what is
	// there stays.
	Create(ctx context.Context, path string, content io.Reader) error
	// Replace makes a file, in place of one that may exist: a reader sees all of the old one or all
	// of the new one.
	Replace(ctx context.Context, path string, content io.Reader) error
	// Link makes path another name of the file existing, without another copy of its bytes. Where
	// path has the same content already, that is success; where it has other content, it is
	// replaced, or, without replace, the error wraps fs.ErrExist.
	Link(ctx context.Context, path, existing string, replace bool) error
	// Symlink makes path a relative symbolic link to target, another path under the web root. Where
	// something else is at path, it is replaced, or, without replace, the error wraps fs.ErrExist.
	Symlink(ctx context.Context, path, target string, replace bool) error
	// Update replaces a file by what change makes of its content, nil if there is none, such that
	// no other Update's result is lost. change may be called again. It may read and create other
	// files, and not call Update. A result equal to the old content writes nothing.
	Update(ctx context.Context, path string, limit int64, change func(old []byte) ([]byte, error)) error
	// Flush makes durable all names that were made before, and gives those of Put.
	Flush(ctx context.Context) error
	// Remove removes a file, if it is there.
	Remove(ctx context.Context, path string) error
	// List calls fn for every file below the folder dir, in no order. Where there is no such folder,
	// there are no files. An error of fn ends it. A file that comes or goes meanwhile may be missed.
	List(ctx context.Context, dir string, fn func(FileInfo) error) error
}

// An Assembler is a Writer that need not be sent what it has. A folder is none: its files are copied either
// way.
type Assembler interface {
	Writer
	// Assemble is Put for content of which files of the tree have some spans already. These are in order,
	// and do not overlap. What the place can copy by itself is not sent: sent is how many bytes were. What
	// is copied is read by nobody here, so it is as good as the file that it is of.
	Assemble(ctx context.Context, path string, content *os.File, spans []Span) (sent int64, err error)
}

// A Span is a part of content that another file has, too.
type Span struct {
	Offset, Size int64  // in the content, in bytes
	Path         string // of the file, under the web root
	From         int64  // where the part is in that
}

// copied reports whether the span is of a file.
func (s Span) copied() bool { return s.Path != "" }

// after returns the span without its first n bytes.
func (s Span) after(n int64) Span {
	return Span{s.Offset + n, s.Size - n, s.Path, s.From + n}
}

// OpenBackend returns the backend for the URL of a repo. It can write to a folder, a file URL,
// sftp://user@host:port/absolute/folder, and s3://bucket/prefix?endpoint=URL&region=NAME, and read
// http and https URLs. Key files are read; nobody is asked yet.
func OpenBackend(raw string, opts Options) (Backend, error) {
	scheme, _, isURL := strings.Cut(raw, "://")
	if !isURL {
		if raw == "" {
			return nil, fmt.Errorf("open rpc-repo: no folder or URL is given")
		}
		return openFolder(raw, opts.Create)
	}
	u, err := url.Parse(raw)
	if err != nil {
		return nil, fmt.Errorf("open rpc-repo: %w", err)
	}
	switch scheme {
	case "file":
		if u.Host != "" && u.Host != "localhost" || !filepath.IsAbs(u.Path) {
			return nil, fmt.Errorf("open rpc-repo %s: want file:// and an absolute path", raw)
		}
		return openFolder(u.Path, opts.Create)
	case "http", "https":
		if u.Host == "" {
			return nil, fmt.Errorf("open rpc-repo %s: the URL names no host", raw)
		}
		return openWeb(u, opts.Roots), nil
	case "sftp":
		return openSFTP(u, opts)
	case "s3":
		return openS3(u, opts)
	default:
		return nil, fmt.Errorf("open rpc-repo %s: %s:// is not supported: use a folder, file://, http://, https://, sftp:// or s3://", u.Redacted(), scheme)
	}
}
