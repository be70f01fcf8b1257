package servertest

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os/exec"

	"github.com/rcbops/rpcbuild/cache"
)

// Nginx serves a folder.
type Nginx struct {
	HTTP, HTTPS string // URLs
	CertFile    string // whom to trust for https
	Roots       *x509.CertPool
}

// StartNginx serves dir over http and https.
func StartNginx(t T, dir string) *Nginx {
	t.Helper()
	bin := program(t, "nginx", "apt-get install nginx-light")
	own := t.TempDir()
	cert, authority, err := cache.SelfSigned([]string{"127.0.0.1"})
	check(t, err)
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	check(t, err)
	write(t, own+"/key.pem", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}))
	n := &Nginx{CertFile: write(t, own+"/cert.pem", authority), Roots: x509.NewCertPool()}
	n.Roots.AppendCertsFromPEM(authority)
	address, _ := start(t, func(address string) *exec.Cmd {
		secure := FreePort(t)
		n.HTTPS = "https://" + secure
		write(t, own+"/nginx.conf", fmt.Appendf(nil, nginxConf, address, secure, dir))
		return exec.Command(bin, "-p", own, "-c", own+"/nginx.conf", "-e", "stderr")
	})
	n.HTTP = "http://" + address
	return n
}

const nginxConf = `
daemon off;
master_process off;
pid nginx.pid;
error_log stderr warn;
events { worker_connections 256; }
http {
	access_log off;
	client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
	server {
		listen %s;
		listen %s ssl http2;
		ssl_certificate cert.pem;
		ssl_certificate_key key.pem;
		root %s;
	}
}
`
