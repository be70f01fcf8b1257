package cache

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// web is the [Backend] for any web server.
type web struct {
	base   *url.URL // its path has no slash at the end
	client *http.Client
	stall  time.Duration
	tries  int
	wait   time.Duration // before the second try; three times as much before each next one
}

// What a server may do to us.
const (
	webConnect  = 10 * time.Second // to connect, and again for TLS
	webStall    = 30 * time.Second // without one byte
	webTries    = 3                // of one request that fails
	webWait     = 200 * time.Millisecond
	webPatience = 60 * time.Second // the longest Retry-After that is honoured in full
)

func openWeb(base *url.URL, roots *x509.CertPool) *web {
	t := &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: webConnect}).DialContext,
		TLSHandshakeTimeout: webConnect,
		TLSClientConfig:     &tls.Config{RootCAs: roots},
		ForceAttemptHTTP2:   true,
		MaxIdleConnsPerHost: 16,
		IdleConnTimeout:     time.Minute,
		DisableCompression:  true, // the bytes that were hashed are the bytes that are sent
	}
	clean := *base
	clean.Path = strings.TrimRight(base.Path, "/")
	clean.RawPath, clean.RawQuery, clean.Fragment = "", "", ""
	return &web{
		base: &clean, client: &http.Client{Transport: t, CheckRedirect: checkRedirect},
		stall: webStall, tries: webTries, wait: webWait,
	}
}

// checkRedirect does not let a server lead from https to http.
func checkRedirect(req *http.Request, via []*http.Request) error {
	if via[0].URL.Scheme == "https" && req.URL.Scheme != "https" {
		return fmt.Errorf("redirected from https to %s", req.URL.Redacted())
	}
	if len(via) >= 10 {
		return errors.New("redirected 10 times")
	}
	return nil
}

func (w *web) String() string { return w.base.Redacted() }

func (w *web) Close() error {
	w.client.CloseIdleConnections()
	return nil
}

func (w *web) Get(ctx context.Context, name string) (io.ReadCloser, int64, error) {
	b := &webBody{web: w, ctx: ctx, name: name}
	if err := b.request(http.Header{}); err != nil {
		return nil, 0, err
	}
	b.tag = b.answer.Header.Get("ETag")
	return b, b.answer.ContentLength, nil
}

func (w *web) GetRange(ctx context.Context, name string, offset, size int64) (io.ReadCloser, error) {
	b := &webBody{web: w, ctx: ctx, name: name, offset: offset, end: offset + size}
	whole, err := b.requestRest()
	if err != nil {
		return nil, err
	}
	if whole {
		return nil, errors.Join(fmt.Errorf("%s/%s: %w", w, name, ErrNoRanges), b.Close())
	}
	b.tag = b.answer.Header.Get("ETag")
	return b, nil
}

// GetChanged asks a conditional request. A server that has no ETag has a time at least; the writers of
// a folder see to it that a change moves either.
func (w *web) GetChanged(ctx context.Context, name, tag string) (io.ReadCloser, string, error) {
	header := http.Header{}
	if since, ok := strings.CutPrefix(tag, modifiedTag); ok {
		header.Set("If-Modified-Since", since)
	} else if tag != "" {
		header.Set("If-None-Match", tag)
	}
	resp, err := w.do(ctx, http.MethodGet, name, header)
	if err != nil {
		return nil, "", err
	}
	newTag := resp.Header.Get("ETag")
	if since := resp.Header.Get("Last-Modified"); newTag == "" && since != "" {
		newTag = modifiedTag + since
	}
	return resp.Body, newTag, nil
}

// modifiedTag begins the tag that is a time and not an ETag, which has quotes.
const modifiedTag = "modified "

func (w *web) Stat(ctx context.Context, name string) (int64, error) {
	resp, err := w.do(ctx, http.MethodHead, name, http.Header{})
	if err != nil {
		return 0, err
	}
	return resp.ContentLength, resp.Body.Close()
}

// do asks until it gets an answer that counts: the file, a part of it, or that it is not there.
func (w *web) do(ctx context.Context, method, name string, header http.Header) (*http.Response, error) {
	if !fs.ValidPath(name) {
		return nil, fmt.Errorf("rpc-repo %s: path %q: want a clean relative path", w, name)
	}
	u := *w.base
	u.Path += "/" + name
	wait := w.wait
	for try := 1; ; try++ {
		req, err := http.NewRequestWithContext(ctx, method, u.String(), nil)
		if err != nil {
			return nil, fmt.Errorf("rpc-repo %s: %w", w, err)
		}
		req.Header = header
		header.Set("Cache-Control", "no-cache") // of a proxy between: pointers move
		resp, after, err := w.once(req)
		if err == nil || answered(err) || ctx.Err() != nil {
			return resp, err
		}
		if try == w.tries || after < 0 {
			return nil, fmt.Errorf("%w: %w", ErrUnreachable, err)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(max(wait, after)):
			wait *= 3
		}
	}
}

// answered reports whether an error is what the server has to say of the file.
func answered(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrNotChanged) || errors.Is(err, ErrShort)
}

// once sends one request. After an error, it returns how long the server asks to be left alone; less
// than 0 says that asking again is of no use.
func (w *web) once(req *http.Request) (*http.Response, time.Duration, error) {
	timed, cancel := context.WithCancelCause(req.Context())
	timer := time.AfterFunc(w.stall, func() { cancel(fmt.Errorf("no answer for %s", w.stall)) })
	resp, err := w.client.Do(req.WithContext(timed))
	if err != nil {
		timer.Stop()
		if timed.Err() != nil && req.Context().Err() == nil {
			err = context.Cause(timed)
		}
		cancel(nil)
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err
		}
		var cert *tls.CertificateVerificationError
		if errors.As(err, &cert) {
			return nil, -1, fmt.Errorf("%s: %w (is its authority one that this machine trusts?)", req.URL.Redacted(), err)
		}
		return nil, 0, fmt.Errorf("%s: %w", req.URL.Redacted(), err)
	}
	switch code := resp.StatusCode; {
	case code == http.StatusOK, code == http.StatusPartialContent:
		resp.Body = &timedBody{ReadCloser: resp.Body, ctx: timed, cancel: cancel, timer: timer, stall: w.stall}
		timer.Stop() // it runs while somebody waits for bytes
		return resp, 0, nil
	case code == http.StatusNotModified:
		err = fmt.Errorf("%s: %w", req.URL.Redacted(), ErrNotChanged)
	case code == http.StatusRequestedRangeNotSatisfiable:
		err = fmt.Errorf("%s: %w", req.URL.Redacted(), ErrShort)
	case code == http.StatusNotFound, code == http.StatusGone:
		err = fmt.Errorf("%s: %w", req.URL.Redacted(), fs.ErrNotExist)
	default:
		err = fmt.Errorf("%s: the server answered %s", req.URL.Redacted(), resp.Status)
	}
	timer.Stop()
	after := retryAfter(resp)
	resp.Body.Close()
	cancel(nil)
	return nil, after, err
}

// retryAfter returns how long the server of a failed request wants to be left alone, or less than 0
// if it will never answer otherwise.
func retryAfter(resp *http.Response) time.Duration {
	if resp.StatusCode < 500 && resp.StatusCode != http.StatusTooManyRequests {
		return -1
	}
	word := resp.Header.Get("Retry-After")
	after := time.Duration(0)
	if s, err := strconv.ParseUint(word, 10, 16); err == nil {
		after = time.Duration(s) * time.Second
	} else if t, err := http.ParseTime(word); err == nil {
		after = time.Until(t)
	}
	return min(max(after, 0), webPatience)
}
