package python

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/rcbops/rpcbuild/derive/sandbox"
)

// A pipBox is a sandbox on the build chroot whose pip reaches the machine's indexes. The chroot's
// own pip resolves, so that versions, markers and tags are those of the target.
type pipBox struct {
	box  *sandbox.Sandbox
	dir  string // boxDir, as this process sees it
	env  []string
	log  io.Writer
	runs int
}

// boxDir is where, inside, everything of the resolver lies.
const boxDir = "/resolve"

func openPipBox(scratch, chroot string, config *pipConfig, log io.Writer) (*pipBox, error) {
	box, err := sandbox.Open(scratch, chroot)
	if err != nil {
		return nil, err
	}
	p := &pipBox{box: box, dir: filepath.Join(box.Root, boxDir), log: log}
	if err := p.prepare(config); err != nil {
		box.Close()
		return nil, err
	}
	return p, nil
}

func (p *pipBox) close() error { return p.box.Close() }

// prepare gives the sandbox what the network and pip need of the machine.
func (p *pipBox) prepare(config *pipConfig) error {
	if err := os.MkdirAll(p.dir, 0o755); err != nil {
		return fmt.Errorf("prepare pip: %w", err)
	}
	for _, name := range []string{"/etc/resolv.conf", "/etc/hosts"} {
		if b, err := os.ReadFile(name); err == nil {
			target := filepath.Join(p.box.Root, name)
			os.Remove(target) // it may be a link to nowhere
			if err := os.WriteFile(target, b, 0o644); err != nil {
				return fmt.Errorf("prepare pip: %w", err)
			}
		}
	}
	settings := "[global]\n"
	add := func(key string, values ...string) {
		if v := strings.Join(values, " "); v != "" {
			settings += key + " = " + v + "\n"
		}
	}
	add("index-url", config.Index)
	add("extra-index-url", config.Extra...)
	add("trusted-host", config.Trusted...)
	if b, err := os.ReadFile(certificates(config)); err == nil {
		add("cert", boxDir+"/ca.crt")
		if err := p.write("ca.crt", string(b)); err != nil {
			return err
		}
	}
	p.env = []string{"PIP_CONFIG_FILE=" + boxDir + "/pip.conf", "PIP_DISABLE_PIP_VERSION_CHECK=1", "PIP_NO_INPUT=1", "PIP_PROGRESS_BAR=off"}
	for _, name := range []string{"http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"} {
		if v, ok := os.LookupEnv(name); ok {
			p.env = append(p.env, name+"="+v)
		}
	}
	return p.write("pip.conf", settings)
}

// certificates is the file with the certificates that the machine trusts.
func certificates(config *pipConfig) string {
	for _, name := range []string{config.Cert, os.Getenv("SSL_CERT_FILE")} {
		if name != "" {
			return name
		}
	}
	return "/etc/ssl/certs/ca-certificates.crt"
}

func (p *pipBox) write(name, content string) error {
	target := filepath.Join(p.dir, name)
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return fmt.Errorf("prepare pip: %w", err)
	}
	if err := os.WriteFile(target, []byte(content), 0o644); err != nil {
		return fmt.Errorf("prepare pip: %w", err)
	}
	return nil
}

func (p *pipBox) read(name string) ([]byte, error) { return os.ReadFile(filepath.Join(p.dir, name)) }

// run runs a program with the network. extra is added to its environment.
func (p *pipBox) run(ctx context.Context, extra []string, args ...string) error {
	t := &tail{w: p.log}
	err := p.box.Run(ctx, sandbox.Command{Args: args, Env: append(p.env, extra...), Dir: boxDir, Network: true, Log: t})
	if err != nil && ctx.Err() == nil {
		if said := t.pipErrors(); said != "" {
			return fmt.Errorf("%s: %w", said, err)
		}
	}
	return err
}

// resolve asks pip for the set that requirements need under constraints. With a folder of a virtual
// environment, which must be new, the set is installed there, too.
func (p *pipBox) resolve(ctx context.Context, requirements, constraints []string, venv string) (*report, error) {
	p.runs++
	name := fmt.Sprintf("run%d/", p.runs)
	if err := p.write(name+"requirements", lines(requirements)); err != nil {
		return nil, err
	}
	if err := p.write(name+"constraints", lines(constraints)); err != nil {
		return nil, err
	}
	dir := boxDir + "/" + name
	args := []string{"python3", "-m", "pip"}
	if venv != "" {
		args = append(args, "--python", venv+"/bin/python3", "install", "--no-compile")
	} else {
		args = append(args, "install", "--dry-run", "--ignore-installed")
	}
	args = append(args, "--report", dir+"report", "--requirement", dir+"requirements", "--constraint", dir+"constraints")
	if err := p.run(ctx, nil, args...); err != nil {
		return nil, err
	}
	b, err := p.read(name + "report")
	if err != nil {
		return nil, fmt.Errorf("read pip's report: %w", err)
	}
	return parseReport(b)
}

// defaultIndex asks the chroot's pip.
func (p *pipBox) defaultIndex(ctx context.Context) (string, error) {
	var out bytes.Buffer
	if err := p.box.Run(ctx, sandbox.Command{Args: []string{"python3", "-c", pipDefaultIndex}, Log: &out}); err != nil {
		return "", fmt.Errorf("find the index of Python packages: %w: %s", err, out.Bytes())
	}
	return strings.TrimSpace(out.String()), nil
}

func lines(list []string) string {
	var b strings.Builder
	for _, l := range list {
		b.WriteString(l + "\n")
	}
	return b.String()
}
