package python

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/rcbops/rpcbuild/derive"
	"github.com/rcbops/rpcbuild/derive/download"
	"github.com/rcbops/rpcbuild/store"
)

const (
	pageLimit = 64 << 20 // bytes of a project's page
	fileLimit = 1 << 30  // bytes of a file whose size the index does not say
)

// An Index finds files on the indexes that this machine's pip is configured with. A project's page
// is read at most once. It is safe for concurrent use.
type Index struct {
	client *download.Client
	config *pipConfig
	// fallback is asked for pip's default where the configuration names no index.
	fallback func(ctx context.Context) (string, error)

	mu    sync.Mutex
	main  string
	pages map[string]*page
}

type page struct {
	mu    sync.Mutex
	read  bool
	files []indexFile
}

// NewIndex reads pip's configuration. It asks no index yet, and runs the machine's Python only when
// a file is wanted and no index is configured.
func NewIndex(client *download.Client) (*Index, error) {
	config, err := readPipConfig()
	if err != nil {
		return nil, err
	}
	return newIndex(client, config, machineDefaultIndex), nil
}

func newIndex(client *download.Client, config *pipConfig, fallback func(context.Context) (string, error)) *Index {
	return &Index{client: client, config: config, fallback: fallback, main: config.Index, pages: make(map[string]*page)}
}

// Locator finds a file of a project by its name and content.
func (x *Index) Locator(project, filename, sha256 string) derive.Locator {
	return func(ctx context.Context) ([]string, error) {
		files, err := x.files(ctx, project)
		if err != nil {
			return nil, err
		}
		var urls []string
		for _, f := range files {
			if f.Name == filename && (f.SHA256 == sha256 || f.SHA256 == "") {
				urls = append(urls, f.url)
			}
		}
		if len(urls) == 0 {
			return nil, fmt.Errorf("find %s: the index has no such file with the SHA-256 %s (update %s in the lock, or configure pip with an index that has it)",
				filename, sha256, project)
		}
		return urls, nil
	}
}

// files returns what the indexes have of a project.
func (x *Index) files(ctx context.Context, project string) ([]indexFile, error) {
	x.mu.Lock()
	p := x.pages[project]
	if p == nil {
		p = &page{}
		x.pages[project] = p
	}
	x.mu.Unlock()

	p.mu.Lock()
	defer p.mu.Unlock()
	if p.read {
		return p.files, nil
	}
	indexes, err := x.indexes(ctx)
	if err != nil {
		return nil, err
	}
	var missing error
	for _, index := range indexes {
		files, err := x.read(ctx, index, project)
		var status *download.StatusError
		if errors.As(err, &status) && status.Code == http.StatusNotFound {
			missing = err
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("find project %s: %w", project, err)
		}
		p.files = append(p.files, files...)
		p.read = true
	}
	if !p.read {
		return nil, fmt.Errorf("find project %s: %w", project, missing)
	}
	return p.files, nil
}

func (x *Index) indexes(ctx context.Context) ([]string, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.main == "" {
		index, err := x.fallback(ctx)
		if err != nil {
			return nil, err
		}
		x.main = index
	}
	return append([]string{x.main}, x.config.Extra...), nil
}

func (x *Index) read(ctx context.Context, index, project string) ([]indexFile, error) {
	base := strings.TrimSuffix(index, "/") + "/" + project + "/"
	body, header, err := x.client.Get(ctx, base, pageLimit, http.Header{"Accept": {simpleAccept}})
	if err != nil {
		return nil, err
	}
	files, err := parseSimple(base, header.Get("Content-Type"), body)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", base, err)
	}
	for i := range files {
		files[i].url = withLogin(files[i].url, index)
	}
	return files, nil
}

// withLogin gives a file's URL the user and password of its index, if it is on the same host.
func withLogin(file, index string) string {
	f, err := url.Parse(file)
	if err != nil {
		return file
	}
	if i, err := url.Parse(index); err == nil && i.User != nil && f.User == nil && i.Host == f.Host {
		f.User = i.User
	}
	return f.String()
}

// lookup returns a file of a project, as a lock has it. sha256 may be empty.
func (x *Index) lookup(ctx context.Context, project, name, sha256 string) (File, error) {
	files, err := x.files(ctx, project)
	if err != nil {
		return File{}, err
	}
	i := slices.IndexFunc(files, func(f indexFile) bool {
		return f.Name == name && (sha256 == "" || f.SHA256 == "" || f.SHA256 == sha256)
	})
	if i < 0 {
		return File{}, fmt.Errorf("find %s: the index lists no such file, although pip found it", name)
	}
	f := files[i]
	if f.SHA256 == "" {
		f.SHA256 = sha256
	}
	return x.complete(ctx, f)
}

// complete finds out what the index does not say of a file, by reading it.
func (x *Index) complete(ctx context.Context, f indexFile) (File, error) {
	if f.Size > 0 && f.SHA256 != "" {
		return f.File, nil
	}
	b, _, err := x.client.Get(ctx, f.url, fileLimit, nil)
	if err != nil {
		return File{}, err
	}
	got := store.HashBlob(b)
	if f.SHA256 != "" && got.Digest.Encoded() != f.SHA256 {
		want, err := store.ParseBlob(f.SHA256, got.Size)
		if err != nil {
			return File{}, err
		}
		return File{}, &store.DigestError{What: f.url, Want: want, Got: got}
	}
	return File{Name: f.Name, Size: got.Size, SHA256: got.Digest.Encoded()}, nil
}

// source returns the source archive of one version.
func (x *Index) source(ctx context.Context, project, version string) (File, error) {
	files, err := x.files(ctx, project)
	if err != nil {
		return File{}, err
	}
	for _, suffix := range sourceSuffixes() {
		for _, f := range files {
			if isSourceOf(f.Name, suffix, project, version) {
				return x.complete(ctx, f)
			}
		}
	}
	return File{}, fmt.Errorf("find the source of %s %s: the index has none (list %s under binary to take upstream's wheel)", project, version, project)
}

// pureWheel returns the wheel of one version that is the same on every platform, if there is one.
func (x *Index) pureWheel(ctx context.Context, project, version string) (File, bool, error) {
	files, err := x.files(ctx, project)
	if err != nil {
		return File{}, false, err
	}
	for _, f := range files {
		w, err := parseWheelName(f.Name)
		if err != nil || !w.pure() || !sameVersion(w.Version, version) || !strings.Contains("."+w.Python, ".py3") {
			continue
		}
		file, err := x.complete(ctx, f)
		return file, err == nil, err
	}
	return File{}, false, nil
}
