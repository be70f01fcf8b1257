// Package download reads files from http, https and file URLs: resumed, verified, and with a bound
// on everything that the other side decides.
package download

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"sort"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/rcbops/rpcbuild/store"
)

// A Client downloads. It is safe for concurrent use.
type Client struct {
	http    *http.Client
	mirrors []mirror
	stall   time.Duration
	tries   int
}

type mirror struct{ from, to string }

// Defaults for what a server may do to us.
const (
	stallTime = 30 * time.Second // without one byte
	maxTries  = 4                // of one URL
)

// New returns a client that reads every URL that begins with a key of upstreams from the value
// instead. The longest key that fits counts.
func New(upstreams map[string]string) *Client {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxIdleConnsPerHost = 16
	t.DisableCompression = true // the bytes that were hashed are the bytes that are sent
	t.RegisterProtocol("file", http.NewFileTransport(http.Dir("/")))
	c := &Client{http: &http.Client{Transport: t}, stall: stallTime, tries: maxTries}
	for from, to := range upstreams {
		c.mirrors = append(c.mirrors, mirror{from, to})
	}
	sort.Slice(c.mirrors, func(i, j int) bool { return len(c.mirrors[i].from) > len(c.mirrors[j].from) })
	return c
}

// Stall sets how long a server may be silent before it counts as not answering.
func (c *Client) Stall(d time.Duration) { c.stall = d }

// A StatusError is an answer that is not the file.
type StatusError struct {
	URL  string
	Code int
}

func (e *StatusError) Error() string {
	return fmt.Sprintf("%s: the server answered %d %s", e.URL, e.Code, http.StatusText(e.Code))
}

// URL returns the URL that raw is read from.
func (c *Client) URL(raw string) string {
	for _, m := range c.mirrors {
		if rest, ok := strings.CutPrefix(raw, m.from); ok {
			return m.to + rest
		}
	}
	return raw
}

// Get returns a small file whole. More than limit bytes are an error. header, if not nil, is sent.
// The caller verifies what it gets.
func (c *Client) Get(ctx context.Context, raw string, limit int64, header http.Header) (content []byte, answer http.Header, err error) {
	err = c.retry(ctx, func() error {
		content, answer, err = c.get(ctx, c.URL(raw), limit, header)
		return err
	})
	return content, answer, err
}

func (c *Client) get(ctx context.Context, url string, limit int64, header http.Header) ([]byte, http.Header, error) {
	ctx, alive, cancel := c.watch(ctx, url)
	defer cancel()
	resp, err := c.do(ctx, url, header)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, nil, &StatusError{url, resp.StatusCode}
	}
	b, err := io.ReadAll(io.LimitReader(&aliveReader{r: resp.Body, alive: alive}, limit+1))
	if err != nil {
		return nil, nil, cause(ctx, url, err)
	}
	if int64(len(b)) > limit {
		return nil, nil, permanent{fmt.Errorf("%s: more than %d bytes", url, limit)}
	}
	return b, resp.Header, nil
}

// File downloads into the file partial exactly want, from the first URL that has it. Bytes that
// are there already are not asked for again. A file whose content is another is removed, and is a
// [*store.DigestError]; after any other error the bytes that came stay, for the next attempt.
// progress, if not nil, is called with the number of bytes that are there.
func (c *Client) File(ctx context.Context, urls []string, partial string, want store.Blob, progress func(int64)) error {
	if progress == nil {
		progress = func(int64) {}
	}
	var errs []error
	for _, raw := range urls {
		url := c.URL(raw)
		err := c.retry(ctx, func() error { return c.resume(ctx, url, partial, want, progress) })
		if err == nil || ctx.Err() != nil {
			return err
		}
		errs = append(errs, err)
	}
	if len(errs) == 0 {
		return errors.New("download: no URL is known for the file")
	}
	return errors.Join(errs...)
}

func (c *Client) resume(ctx context.Context, url, partial string, want store.Blob, progress func(int64)) (err error) {
	f, err := os.OpenFile(partial, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return permanent{err}
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	h := digest.SHA256.Digester()
	have, err := io.Copy(h.Hash(), f)
	if err != nil {
		return permanent{err}
	}
	if have > want.Size {
		have = 0
	}
	resumed := have > 0
	if have < want.Size || have == 0 {
		if have, resumed, err = c.append(ctx, url, f, h, have, want.Size, progress); err != nil {
			return err
		}
	}
	got := store.Blob{Digest: h.Digest(), Size: have}
	if got == want {
		return nil
	}
	if err := os.Remove(partial); err != nil {
		return permanent{err}
	}
	if resumed { // whose bytes are wrong, those that came now or those that were there?
		return fmt.Errorf("%s: it does not continue what an earlier download left", url)
	}
	return &store.DigestError{What: url, Want: want, Got: got}
}

// append asks for the bytes from have on and writes them to f and h. It returns how many are there,
// and whether some of them were there before.
func (c *Client) append(ctx context.Context, url string, f *os.File, h digest.Digester, have, size int64, progress func(int64)) (int64, bool, error) {
	ctx, alive, cancel := c.watch(ctx, url)
	defer cancel()
	header := http.Header{}
	if have > 0 {
		header.Set("Range", fmt.Sprintf("bytes=%d-", have))
	}
	resp, err := c.do(ctx, url, header)
	if err != nil {
		return have, have > 0, err
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode == http.StatusPartialContent && strings.HasPrefix(resp.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-", have)):
	case resp.StatusCode == http.StatusOK:
		have = 0
		h.Hash().Reset()
	case resp.StatusCode == http.StatusRequestedRangeNotSatisfiable && have > 0:
		if err := f.Truncate(0); err != nil {
			return have, true, permanent{err}
		}
		return 0, false, fmt.Errorf("%s: the server has less than the %d bytes that an earlier download left", url, have)
	default:
		return have, have > 0, &StatusError{url, resp.StatusCode}
	}
	resumed := have > 0
	if err := f.Truncate(have); err != nil {
		return have, resumed, permanent{err}
	}
	if _, err := f.Seek(have, io.SeekStart); err != nil {
		return have, resumed, permanent{err}
	}
	start := have
	body := &aliveReader{r: resp.Body, alive: alive, progress: func(n int64) { progress(start + n) }}
	n, err := io.Copy(io.MultiWriter(f, h.Hash()), io.LimitReader(body, size-have+1))
	have += n
	var disk *fs.PathError
	switch {
	case errors.As(err, &disk) && disk.Path == f.Name():
		return have, resumed, permanent{err}
	case err != nil:
		return have, resumed, cause(ctx, url, err)
	case have < size:
		return have, resumed, fmt.Errorf("%s: ended after %d of %d bytes", url, have, size)
	}
	return have, resumed, nil
}

func (c *Client) do(ctx context.Context, url string, header http.Header) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, permanent{err}
	}
	for k, v := range header {
		req.Header[k] = v
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, cause(ctx, url, err)
	}
	return resp, nil
}

// permanent marks an error that another attempt would meet again.
type permanent struct{ error }

func (p permanent) Unwrap() error { return p.error }

// retry calls fn until it succeeds, fails for good, or has failed often enough.
func (c *Client) retry(ctx context.Context, fn func() error) error {
	wait := 200 * time.Millisecond
	for try := 1; ; try++ {
		err := fn()
		if err == nil {
			return nil
		}
		var status *StatusError
		var digest *store.DigestError
		var perm permanent
		switch {
		case errors.As(err, &perm):
			return perm.error
		case errors.As(err, &digest), try == c.tries, ctx.Err() != nil:
			return err
		case errors.As(err, &status) && status.Code < 500 && status.Code != http.StatusTooManyRequests:
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(wait):
			wait *= 3
		}
	}
}

// errStalled is the cause of a context that watch cancelled.
var errStalled = errors.New("the server stopped sending")

// watch returns a context that ends when alive was not called for the stall time.
func (c *Client) watch(ctx context.Context, url string) (_ context.Context, alive, cancel func()) {
	ctx, cancelCause := context.WithCancelCause(ctx)
	t := time.AfterFunc(c.stall, func() {
		cancelCause(fmt.Errorf("%s: no byte for %s: %w", url, c.stall, errStalled))
	})
	return ctx, func() { t.Reset(c.stall) }, func() { t.Stop(); cancelCause(nil) }
}

// cause names what ended a request: our own watch, the caller, or the network.
func cause(ctx context.Context, raw string, err error) error {
	if c := context.Cause(ctx); errors.Is(c, errStalled) {
		return c
	}
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	return fmt.Errorf("%s: %w", raw, err)
}

// aliveReader tells of each piece that it reads.
type aliveReader struct {
	r        io.Reader
	alive    func()
	progress func(int64) // bytes so far; may be nil
	n        int64
}

func (r *aliveReader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	if n > 0 {
		r.alive()
		r.n += int64(n)
		if r.progress != nil {
			r.progress(r.n)
		}
	}
	return n, err
}
