package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestServe serves a folder over https with a certificate that is made for it, and is interrupted.
func TestServe(t *testing.T) {
	dir := t.TempDir()
	repo, cert := filepath.Join(dir, "repo"), filepath.Join(dir, "cert.pem")
	if err := os.Mkdir(repo, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(repo, "file"), []byte("content"), 0o644); err != nil {
		t.Fatal(err)
	}
	r, w := io.Pipe()
	var said bytes.Buffer
	status := make(chan int)
	go func() {
		h := host{env: func(string) string { return "" }, uid: 1, home: dir}
		code := run([]string{"serve", "--repo", repo, "--listen", "localhost:0", "--tls-self-signed", "--tls-write-cert", cert},
			streams{out: w, err: &console{w: &said}}, h)
		w.Close()
		status <- code
	}()
	url, err := bufio.NewReader(r).ReadString('\n')
	if err != nil {
		t.Fatalf("it printed no URL: exit status %d, %s", <-status, &said)
	}
	if got := get(t, cert, strings.TrimSpace(url)+"/file"); got != "content" {
		t.Errorf("it served %q", got)
	}
	if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := <-status; code != 0 {
		t.Errorf("exit status %d, %s", code, &said)
	}
}

func get(t *testing.T, cert, url string) string {
	t.Helper()
	pem, err := os.ReadFile(cert)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
	defer client.CloseIdleConnections()
	resp, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
