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
	"path"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// bucket is the [Writer] for a prefix of an S3 bucket, at any endpoint that knows conditional writes
// (If-Match and If-None-Match, also of the end of a multipart upload). Any number of processes on any
// machines may write to it.
//
// S3 has no links. Link and Symlink make copies, on the server: the bytes are kept twice and not sent
// again. A copy for a symbolic link does not follow when its target is replaced. What an answered
// request wrote is durable and has its name, so Flush has nothing to do.
type bucket struct {
	url    string
	bucket string
	prefix string // empty, or ending in a slash
	client minio.Core
	creds  *credentials.Credentials
	// transport is the client's own.
	transport *http.Transport
	stall     time.Duration
	piece     int // of an upload, in bytes

	updating chan struct{} // holds one: within a process, updaters need not compete
}

const (
	s3Endpoint = "https://s3.amazonaws.com"
	s3Tries    = 6 // of one request that fails
	// s3Piece is how much of an upload is kept in memory. S3 takes 10,000 pieces.
	s3Piece = 8 << 20
	// s3MetadataWait is how long this machine may take to say that it has no role of a cloud's.
	s3MetadataWait = 2 * time.Second
)

func openS3(u *url.URL, opts Options) (*bucket, error) {
	fail := func(format string, args ...any) (*bucket, error) {
		return nil, fmt.Errorf("open rpc-repo %s: %w", u.Redacted(), fmt.Errorf(format, args...))
	}
	if u.User != nil {
		return nil, fmt.Errorf("open rpc-repo s3://%s%s: credentials in the URL are not supported: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY", u.Host, u.Path)
	}
	if u.Host == "" {
		return fail("the URL names no bucket (want s3://bucket/prefix?endpoint=https://host)")
	}
	if u.Port() != "" {
		return fail("%s is no bucket: name the server with ?endpoint=https://%s", u.Host, u.Host)
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return fail("%w", err)
	}
	for key := range query {
		if key != "endpoint" && key != "region" {
			return fail("it does not know %q (want endpoint or region)", key)
		}
	}
	endpoint, err := parseEndpoint(query.Get("endpoint"))
	if err != nil {
		return fail("%w", err)
	}
	b := &bucket{
		bucket: u.Host, transport: s3Transport(opts.Roots), creds: s3Credentials(),
		stall: webStall, piece: s3Piece, updating: make(chan struct{}, 1),
	}
	shown := url.URL{Scheme: "s3", Host: u.Host, RawQuery: u.RawQuery}
	if prefix := strings.Trim(path.Clean("/"+u.Path), "/"); prefix != "" {
		b.prefix, shown.Path = prefix+"/", "/"+prefix
	}
	b.url = shown.String()
	client, err := minio.New(endpoint.Host, &minio.Options{
		Creds: b.creds, Secure: endpoint.Scheme == "https", Region: query.Get("region"),
		Transport: patient{b.transport}, MaxRetries: s3Tries,
	})
	if err != nil {
		return fail("%w", err)
	}
	client.SetAppInfo("rpcbuild", "1")
	b.client = minio.Core{Client: client}
	return b, nil
}

// parseEndpoint reads the URL of an S3 server; without a scheme, https is meant.
func parseEndpoint(raw string) (*url.URL, error) {
	if raw == "" {
		raw = s3Endpoint
	}
	if !strings.Contains(raw, "://") {
		raw = "https://" + raw
	}
	u, err := url.Parse(raw)
	if err != nil {
		return nil, fmt.Errorf("endpoint: %w", err)
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || strings.Trim(u.Path, "/") != "" || u.User != nil || u.RawQuery != "" {
		return nil, fmt.Errorf("endpoint %s: want https://host:port or http://host:port", u.Redacted())
	}
	return u, nil
}

// s3Credentials are those of the environment, of the files of AWS's and MinIO's tools, or of the role
// that a cloud gave this machine; else none, which is enough to read what is public.
func s3Credentials() *credentials.Credentials {
	return credentials.NewChainCredentials([]credentials.Provider{
		&credentials.EnvAWS{}, &credentials.EnvMinio{},
		&credentials.FileAWSCredentials{}, &credentials.FileMinioClient{},
		&credentials.IAM{Client: &http.Client{Timeout: s3MetadataWait}},
	})
}

func s3Transport(roots *x509.CertPool) *http.Transport {
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: webConnect}).DialContext,
		TLSHandshakeTimeout:   webConnect,
		TLSClientConfig:       &tls.Config{RootCAs: roots},
		ResponseHeaderTimeout: 2 * webStall, // a server answers the end of a large upload late
		MaxIdleConnsPerHost:   16,
		IdleConnTimeout:       time.Minute,
		DisableCompression:    true,
	}
}

// patient waits as long as a server asks for before its answer is looked at: the client, which asks
// again, has only its own idea of how long that should be.
type patient struct{ http.RoundTripper }

func (p patient) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := p.RoundTripper.RoundTrip(req)
	if err != nil || resp.StatusCode < 400 {
		return resp, err
	}
	if after := retryAfter(resp); after > 0 {
		select {
		case <-req.Context().Done():
		case <-time.After(after):
		}
	}
	return resp, nil
}

func (b *bucket) String() string { return b.url }

func (b *bucket) Close() error {
	b.transport.CloseIdleConnections()
	return nil
}

func (b *bucket) key(name string) string { return b.prefix + name }

func (b *bucket) checkName(name string) error {
	if !fs.ValidPath(name) || name == "." {
		return fmt.Errorf("rpc-repo %s: path %q: want a clean relative path", b, name)
	}
	return nil
}

func (b *bucket) Get(ctx context.Context, name string) (io.ReadCloser, int64, error) {
	body, err := b.open(ctx, name, "")
	if err != nil {
		return nil, 0, err
	}
	return body, body.end, nil
}

func (b *bucket) GetChanged(ctx context.Context, name, tag string) (io.ReadCloser, string, error) {
	body, err := b.open(ctx, name, tag)
	if err != nil {
		return nil, "", err
	}
	return body, body.etag, nil
}

func (b *bucket) GetRange(ctx context.Context, name string, offset, size int64) (io.ReadCloser, error) {
	if err := b.checkName(name); err != nil {
		return nil, err
	}
	body := &s3Body{bucket: b, ctx: ctx, name: name, offset: offset, end: offset + size}
	var opts minio.GetObjectOptions
	if err := opts.SetRange(offset, offset+size-1); err != nil {
		return nil, fmt.Errorf("rpc-repo %s: %s: %w", b, name, err)
	}
	info, err := body.request(opts)
	if err != nil {
		return nil, err
	}
	body.etag = info.ETag
	return body, nil
}

func (b *bucket) open(ctx context.Context, name, tag string) (*s3Body, error) {
	if err := b.checkName(name); err != nil {
		return nil, err
	}
	body := &s3Body{bucket: b, ctx: ctx, name: name}
	var opts minio.GetObjectOptions
	if tag != "" {
		if err := opts.SetMatchETagExcept(tag); err != nil {
			return nil, err
		}
	}
	info, err := body.request(opts)
	if err != nil {
		return nil, err
	}
	body.end, body.etag = info.Size, info.ETag
	return body, nil
}

func (b *bucket) Stat(ctx context.Context, name string) (int64, error) {
	info, err := b.stat(ctx, name)
	return info.Size, err
}

func (b *bucket) stat(ctx context.Context, name string) (minio.ObjectInfo, error) {
	if err := b.checkName(name); err != nil {
		return minio.ObjectInfo{}, err
	}
	info, err := b.client.StatObject(ctx, b.bucket, b.key(name), minio.StatObjectOptions{})
	return info, b.failed(ctx, name, err)
}

func (b *bucket) List(ctx context.Context, dir string, fn func(FileInfo) error) error {
	prefix := b.prefix
	if dir != "." {
		if err := b.checkName(dir); err != nil {
			return err
		}
		prefix = b.key(dir) + "/"
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for info := range b.client.ListObjectsIter(ctx, b.bucket, minio.ListObjectsOptions{Prefix: prefix, Recursive: true}) {
		if info.Err != nil {
			return b.failed(ctx, dir, info.Err)
		}
		name := strings.TrimPrefix(info.Key, b.prefix)
		if b.checkName(name) != nil {
			continue // a marker for a folder, which some tools leave
		}
		if err := fn(FileInfo{Path: name, Size: info.Size, Time: info.LastModified}); err != nil {
			return err
		}
	}
	return ctx.Err()
}

func (b *bucket) Remove(ctx context.Context, name string) error {
	if err := b.checkName(name); err != nil {
		return err
	}
	err := b.client.RemoveObject(ctx, b.bucket, b.key(name), minio.RemoveObjectOptions{})
	if err = b.failed(ctx, name, err); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// Flush has nothing to do: what was answered is durable.
func (b *bucket) Flush(ctx context.Context) error { return ctx.Err() }
