package apttest

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
)

// A Server serves a folder on loopback. Its methods are safe for concurrent use.
type Server struct {
	*httptest.Server
	dir string

	mu       sync.Mutex
	requests []string
	faults   map[string]Fault
}

// A Fault answers a request for a file, whose content it is given, in a way of its own.
type Fault func(w http.ResponseWriter, r *http.Request, content []byte)

// Serve serves dir until it is closed.
func Serve(dir string) *Server {
	s := &Server{dir: dir, faults: make(map[string]Fault)}
	s.Server = httptest.NewServer(s)
	return s
}

// ServeHTTP answers with the file, or with the fault that its path has.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.requests = append(s.requests, strings.TrimSpace(r.URL.Path+" "+r.Header.Get("Range")))
	var fault Fault
	for suffix, f := range s.faults {
		if strings.HasSuffix(r.URL.Path, suffix) {
			fault = f
		}
	}
	s.mu.Unlock()
	name := filepath.Join(s.dir, filepath.FromSlash(r.URL.Path))
	if fault == nil {
		http.ServeFile(w, r, name)
		return
	}
	content, err := os.ReadFile(name)
	if err != nil {
		http.NotFound(w, r)
		return
	}
	fault(w, r, content)
}

// Break answers requests for paths with the suffix with a fault, or, if that is nil, no longer.
func (s *Server) Break(suffix string, f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.faults, suffix)
	if f != nil {
		s.faults[suffix] = f
	}
}

// Requests returns the paths that were asked for since the last call, each with the range, if only
// that was asked for: "/a.deb bytes=512-".
func (s *Server) Requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.requests
	s.requests = nil
	return r
}

// NotFound is the fault of a file that is gone.
func NotFound(w http.ResponseWriter, r *http.Request, _ []byte) { http.NotFound(w, r) }

// Truncated is the fault of a server that promises all and hangs up in the middle.
func Truncated(w http.ResponseWriter, _ *http.Request, content []byte) {
	w.Header().Set("Content-Length", strconv.Itoa(len(content)))
	w.Write(content[:len(content)/2])
}

// Corrupt is the fault of one flipped bit in the middle.
func Corrupt(w http.ResponseWriter, _ *http.Request, content []byte) {
	content[len(content)/2] ^= 1
	w.Write(content)
}

// Silent is the fault of a server that sends half and then nothing, until the client gives up.
func Silent(w http.ResponseWriter, r *http.Request, content []byte) {
	w.Header().Set("Content-Length", strconv.Itoa(len(content)))
	w.Write(content[:len(content)/2])
	w.(http.Flusher).Flush()
	<-r.Context().Done()
}
