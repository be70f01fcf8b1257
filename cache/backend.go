package cache

import (
	"context"
	"fmt"
	"io"
	"net/url"
	"path/filepath"
	"strings"
)

// A Backend reads a tree of files. Paths are relative to the web root, slash-separated and clean;
// others are refused. Methods are safe for concurrent use. What is not there is an error that wraps
// fs.ErrNotExist; a place that does not answer at all is one that wraps [ErrUnreachable].
type Backend interface {
	// Get opens a file, following links under the web root. Its size is -1 if it is not known.
	Get(ctx context.Context, path string) (body io.ReadCloser, size int64, err error)
	// Stat returns the size of a file in bytes.
	Stat(ctx context.Context, path string) (int64, error)
	// String returns the URL, without a password.
	String() string
	Close() error
}

// A Writer also writes. A file's content is complete and durable before the file has its name;
// names are durable after Flush. Parent folders are made as needed.
type Writer interface {
	Backend
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
	// Flush makes durable all names that were made before.
	Flush(ctx context.Context) error
}

// OpenBackend returns the backend for the URL of a repo: a folder or a file URL, which it can write
// to, or an http or https URL.
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
	default:
		return nil, fmt.Errorf("open rpc-repo %s: %s:// is not supported: use a folder, file://, http:// or https://", u.Redacted(), scheme)
	}
}
