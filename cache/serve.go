package cache

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path"
	"strings"
	"time"
)

// A Server serves the folder of a repo, for reading.
type Server struct {
	root  *os.Root
	files http.Handler
}

// NewServer returns the server of the repo in dir. It serves GET and HEAD, also of parts of files,
// and lists folders, which pip reads; what lies under cache/ is not listed. It follows links inside
// of dir and none that lead out of it.
func NewServer(dir string) (*Server, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("serve rpc-repo: %w", err)
	}
	return &Server{root: root, files: http.FileServerFS(root.FS())}, nil
}

// Close lets go of the folder.
func (s *Server) Close() error { return s.root.Close() }

func (s *Server) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if req.Method != http.MethodGet && req.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "rpc-repo is served for reading", http.StatusMethodNotAllowed)
		return
	}
	name := strings.TrimPrefix(path.Clean("/"+req.URL.Path), "/")
	if hidden(name) || s.unlisted(name) {
		http.NotFound(w, req)
		return
	}
	if immutable(name) {
		w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
		w.Header().Set("Content-Type", "application/octet-stream")
	} else {
		w.Header().Set("Cache-Control", "no-cache")
	}
	s.files.ServeHTTP(w, req)
}

// hidden reports whether a name is one of a writer's own.
func hidden(name string) bool {
	return strings.HasPrefix(name, ".") || strings.Contains(name, "/.")
}

// unlisted reports whether a name is a folder that would be long to list and that nobody browses.
func (s *Server) unlisted(name string) bool {
	if name != "cache" && !strings.HasPrefix(name, "cache/") {
		return false
	}
	fi, err := s.root.Stat(name)
	return err == nil && fi.IsDir()
}

// immutable reports whether a file's name decides its content.
func immutable(name string) bool {
	rest, ok := strings.CutPrefix(name, root)
	dir, _, _ := strings.Cut(rest, "/")
	switch dir {
	case "artifact", "blob", "bundle", "chunk", "content", "cuts", "derivation", "generation", "history":
		return ok
	default:
		return false
	}
}

// drain is how long requests that are under way have to end.
const drain = 5 * time.Second

// Serve answers requests that come in on l until ctx ends, over TLS if config is not nil. It closes
// l and returns nil once ctx has ended.
func Serve(ctx context.Context, l net.Listener, h http.Handler, config *tls.Config) error {
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute, TLSConfig: config}
	done := make(chan error, 1)
	go func() {
		if config != nil {
			done <- srv.ServeTLS(l, "", "")
		} else {
			done <- srv.Serve(l)
		}
	}()
	select {
	case err := <-done:
		return fmt.Errorf("serve rpc-repo: %w", err)
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), drain)
	defer cancel()
	err := srv.Shutdown(stop)
	if errors.Is(err, context.DeadlineExceeded) {
		err = srv.Close()
	}
	<-done
	return err
}
