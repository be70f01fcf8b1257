package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/rcbops/rpcbuild/cache"
)

type serveOptions struct {
	keyOptions
	listen      string
	cert, key   string
	selfSigned  bool
	certificate string
	json        bool
}

func newServe(a *app) *cobra.Command {
	var o serveOptions
	cmd := &cobra.Command{
		Use:   "serve [RELEASE]",
		Short: "Serve a store, or the first --repo, as rpc-repo over http or https",
		Long: `serve answers reads of the first --repo, which must be a folder, until it is interrupted. With a
RELEASE it publishes there first what the store has of it; without a --repo, in a folder of the store's own.
The LXC download client speaks https only: give it a certificate, or --tls-self-signed.`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: a.completeRelease,
		RunE:              func(cmd *cobra.Command, args []string) error { return o.run(cmd.Context(), a, args) },
	}
	flags := cmd.Flags()
	o.keyOptions.flags(flags, false)
	flags.StringVar(&o.listen, "listen", "localhost:8480", "`address` to listen on; port 0 takes a free one")
	flags.StringVar(&o.cert, "tls-cert", "", "`file` with the certificate, PEM")
	flags.StringVar(&o.key, "tls-key", "", "`file` with its key, PEM")
	flags.BoolVar(&o.selfSigned, "tls-self-signed", false, "make a certificate, good for this run")
	flags.StringVar(&o.certificate, "tls-write-cert", "", "`file` that gets the self-signed certificate, for clients to trust")
	jsonFlag(flags, &o.json)
	return cmd
}

// jsonServing is the only line of serve.
type jsonServing struct {
	Event string `json:"event"`
	URL   string `json:"url"`
}

func (o *serveOptions) run(ctx context.Context, a *app, args []string) error {
	if err := o.publish(ctx, a, args); err != nil {
		return err
	}
	dir, err := a.repoFolder()
	if err != nil {
		return err
	}
	config, err := o.tls(a)
	if err != nil {
		return err
	}
	h, err := cache.NewServer(dir)
	if err != nil {
		return fmt.Errorf("%w (realize --push and push make it)", err)
	}
	defer h.Close()
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", o.listen)
	if err != nil {
		return fmt.Errorf("serve %s: %w", dir, err)
	}
	url := o.url(l.Addr(), config != nil)
	if o.json {
		j := newJSONLines(a.out)
		j.write(jsonServing{"serving", url})
		err = j.err
	} else {
		_, err = fmt.Fprintln(a.out, url)
	}
	if err != nil {
		return errors.Join(err, l.Close())
	}
	fmt.Fprintf(a.err, "serving %s until interrupted\n", dir)
	return cache.Serve(ctx, l, h, config)
}

// servedDir is where a store keeps what is published of it.
const servedDir = "rpc-repo"

// publish pushes the release, if one is named, from the store into the folder that is served.
func (o *serveOptions) publish(ctx context.Context, a *app, args []string) error {
	if len(args) == 0 {
		return nil
	}
	if len(a.repoURLs) == 0 {
		a.repoURLs = []string{filepath.Join(a.storeFolder, servedDir)}
	}
	told := *a
	told.out = a.err // standard output is for the URL
	push := pushOptions{keyOptions: o.keyOptions}
	return push.run(ctx, &told, args)
}

// repoFolder returns the folder of the first repo.
func (a *app) repoFolder() (string, error) {
	if len(a.repoURLs) == 0 {
		return "", usageErrorf("no rpc-repo is named (--repo names the folder to serve)")
	}
	dir, _ := strings.CutPrefix(a.repoURLs[0], "file://")
	if strings.Contains(dir, "://") {
		return "", usageErrorf("--repo %s: only a folder can be served", dir)
	}
	return dir, nil
}

// tls returns how TLS is spoken, nil for plain http.
func (o *serveOptions) tls(a *app) (*tls.Config, error) {
	switch {
	case o.selfSigned && o.cert+o.key != "":
		return nil, usageErrorf("--tls-self-signed goes without --tls-cert and --tls-key")
	case o.certificate != "" && !o.selfSigned:
		return nil, usageErrorf("--tls-write-cert goes with --tls-self-signed")
	case o.selfSigned:
		return o.makeCertificate(a)
	case o.cert == "" && o.key == "":
		return nil, nil
	case o.cert == "" || o.key == "":
		return nil, usageErrorf("--tls-cert and --tls-key go together")
	}
	pair, err := tls.LoadX509KeyPair(o.cert, o.key)
	if err != nil {
		return nil, fmt.Errorf("load certificate: %w", err)
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}}, nil
}

// makeCertificate makes one for this machine's names and the address that is listened on.
func (o *serveOptions) makeCertificate(a *app) (*tls.Config, error) {
	hosts := []string{"localhost", "127.0.0.1", "::1"}
	if a.name != "" {
		hosts = append(hosts, a.name)
	}
	if host, _, err := net.SplitHostPort(o.listen); err == nil && host != "" {
		hosts = append(hosts, host)
	}
	pair, text, err := cache.SelfSigned(hosts)
	if err != nil {
		return nil, err
	}
	if o.certificate != "" {
		if err := os.WriteFile(o.certificate, text, 0o644); err != nil {
			return nil, fmt.Errorf("write certificate: %w", err)
		}
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}}, nil
}

// url returns where the server answers: the host that was asked for, with the port that it got.
func (o *serveOptions) url(addr net.Addr, secure bool) string {
	scheme := "http"
	if secure {
		scheme = "https"
	}
	host, _, _ := net.SplitHostPort(o.listen)
	if host == "" || net.ParseIP(host).IsUnspecified() {
		host = "localhost"
	}
	_, port, _ := net.SplitHostPort(addr.String())
	return scheme + "://" + net.JoinHostPort(host, port)
}
