package main_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// clients lets those that the artifacts are for use what was published, over https.
func (q *quickstart) clients(t *testing.T) {
	url, ca := q.serve(t)
	root := q.guest(t, url, ca)
	t.Run("apt", func(t *testing.T) { q.aptClient(t, root, url) })
	t.Run("pip", func(t *testing.T) { q.pipClient(t, root, url) })
	t.Run("git", func(t *testing.T) { q.gitClient(t, url, ca) })
	for _, c := range []struct{ variant, command, want string }{
		{"default", "python3 --version", "Python 3.13"},
		{"memcached", "memcached -V", "memcached 1."},
		{"keystone", "cd /openstack/venvs/keystone-quickstart/bin && ./uwsgi --version && ./keystone-manage --version", "29."},
	} {
		t.Run("lxc "+c.variant, func(t *testing.T) { q.lxcClient(t, url, ca, c.variant, c.command, c.want) })
	}
}

// serve runs rpcbuild serve over TLS, and returns the URL and the file of the certificate to trust.
func (q *quickstart) serve(t *testing.T) (url, ca string) {
	t.Helper()
	ca = filepath.Join(q.dir, "ca.pem")
	cmd := q.command(t.Context(), "serve", "--repo", q.repo, "--listen", "localhost:0", "--tls-self-signed", "--tls-write-cert", ca)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Signal(os.Interrupt); cmd.Wait() })
	url, err = bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal("serve did not say its URL:", err)
	}
	return strings.TrimSpace(url), ca
}

// guest unpacks the default image into a folder that programs can be run in by chroot, with this
// machine's network.
func (q *quickstart) guest(t *testing.T, url, ca string) string {
	t.Helper()
	root := filepath.Join(q.dir, "guest")
	q.must("mkdir", root)
	image, err := filepath.Glob(filepath.Join(q.repo, "lxc-images/debian/trixie/amd64/default-quickstart/*/rootfs.tar.xz"))
	if err != nil || len(image) != 1 {
		t.Fatalf("images %v, want one (%v)", image, err)
	}
	q.must("tar", "-xpJf", image[0], "--numeric-owner", "-C", root)
	q.must("cp", ca, filepath.Join(root, "etc/repo.pem"))
	q.must("mount", "--bind", "/proc", filepath.Join(root, "proc"))
	t.Cleanup(func() { q.must("umount", filepath.Join(root, "proc")) })
	return root
}

// in runs a command of the shell in the guest.
func (q *quickstart) in(t *testing.T, root, command string) string {
	t.Helper()
	cmd := exec.Command("chroot", root, "/bin/sh", "-ec", command)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C.UTF-8"}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", command, err, tail(string(out), 30))
	}
	return string(out)
}

// aptClient uses the image's own source: the only one that it has, with the key that it has.
func (q *quickstart) aptClient(t *testing.T, root, url string) {
	sources := q.in(t, root, "cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null || true")
	if n := strings.Count(sources, "URIs:"); n != 1 || strings.Contains(sources, "\ndeb ") || !strings.Contains(sources, "https://rpc-repo.example.org/apt-mirror/integrated/") {
		t.Fatalf("the image's apt sources are\n%s", sources)
	}
	q.in(t, root, "sed -i s,https://rpc-repo.example.org,"+url+", /etc/apt/sources.list.d/*")
	q.in(t, root, "apt-get -o Acquire::https::CaInfo=/etc/repo.pem -o APT::Sandbox::User=root update")
	out := q.in(t, root, "apt-get -o Acquire::https::CaInfo=/etc/repo.pem -o APT::Sandbox::User=root install -y --no-install-recommends python3-venv libldap2 libsasl2-2 libyaml-0-2")
	if !strings.Contains(out, "Setting up python3-venv") {
		t.Errorf("python3-venv was not installed:\n%s", out)
	}
}

// pipClient installs the service from the published links, with every hash checked, and no index.
func (q *quickstart) pipClient(t *testing.T, root, url string) {
	release := url + "/os-releases/quickstart/debian-13-x86_64/"
	q.in(t, root, "python3 -m venv /srv/venv")
	q.in(t, root, fmt.Sprintf("/srv/venv/bin/pip install --cert /etc/repo.pem --no-cache-dir --no-index --find-links %s --require-hashes -r %srequirements_absolute_requirements.txt", release, release))
	if out := q.in(t, root, "/srv/venv/bin/keystone-manage --version"); !strings.Contains(out, "29.") {
		t.Errorf("keystone-manage --version: %s", out)
	}
}

// gitClient clones from an unpacked archive.
func (q *quickstart) gitClient(t *testing.T, url, ca string) {
	dir := t.TempDir()
	archive := url + "/git-archives/quickstart/requirements"
	q.must("curl", "-sSf", "--cacert", ca, "-o", filepath.Join(dir, "requirements.tgz"), archive+".tgz")
	sum := q.must("curl", "-sSf", "--cacert", ca, archive+".checksum")
	if got := strings.Fields(q.must("sha1sum", filepath.Join(dir, "requirements.tgz")))[0]; got != sum {
		t.Errorf("the checksum is %q, the archive's is %q", sum, got)
	}
	q.must("tar", "-xzf", filepath.Join(dir, "requirements.tgz"), "-C", dir)
	work := filepath.Join(dir, "requirements")
	if out := q.must("git", "-C", work, "status", "--porcelain"); out != "" {
		t.Errorf("the work tree is not clean:\n%s", out)
	}
	q.must("git", "clone", "--quiet", work, filepath.Join(dir, "clone"))
	if a, b := q.must("git", "-C", work, "rev-parse", "HEAD"), q.must("git", "-C", filepath.Join(dir, "clone"), "rev-parse", "HEAD"); a != b {
		t.Errorf("the clone is at %s, the archive at %s", b, a)
	}
	if branches := q.must("git", "-C", work, "branch", "--list", "--all"); !strings.Contains(branches, "master") || !strings.Contains(branches, "stable/2026.1") {
		t.Errorf("the archive is no full clone; its branches:\n%s", branches)
	}
}

// lxcClient makes a container of an image, starts it, and runs a command in it.
func (q *quickstart) lxcClient(t *testing.T, url, ca, variant, command, want string) {
	path, cache, name := filepath.Join(q.dir, "lxc"), filepath.Join(q.dir, "lxc-cache"), "quickstart-"+variant
	q.must("mkdir", "-p", path, cache)
	create := exec.Command("lxc-create", "-P", path, "-n", name, "-t", "download", "--",
		"--server", strings.TrimPrefix(url, "https://"), "-d", "debian", "-r", "trixie", "-a", "amd64",
		"--variant", variant+"-quickstart")
	wgetrc := filepath.Join(q.dir, "wgetrc")
	if err := os.WriteFile(wgetrc, []byte("ca_certificate = "+ca+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	create.Env = append(os.Environ(), "LXC_CACHE_PATH="+cache, "WGETRC="+wgetrc)
	if out, err := create.CombinedOutput(); err != nil {
		t.Fatalf("lxc-create: %v\n%s", err, out)
	}
	t.Cleanup(func() { exec.Command("lxc-destroy", "-P", path, "-n", name, "-f").Run() })
	// The container has no network here; nothing of it is needed.
	q.must("sed", "-i", "/lxc.net/d", filepath.Join(path, name, "config"))
	q.must("lxc-start", "-P", path, "-n", name, "-s", "lxc.net.0.type=empty", "-s", "lxc.apparmor.profile=unconfined")
	q.must("lxc-wait", "-P", path, "-n", name, "-s", "RUNNING", "-t", "20")
	out := q.must("lxc-attach", "-P", path, "-n", name, "--clear-env", "--", "sh", "-c", command)
	if !strings.Contains(out, want) {
		t.Errorf("%s: %q, want %q", command, out, want)
	}
	q.must("lxc-stop", "-P", path, "-n", name, "-k")
}
