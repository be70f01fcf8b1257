package apt

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rcbops/rpcbuild/derive"
	"github.com/rcbops/rpcbuild/recipes/apt/apttest"
	"github.com/rcbops/rpcbuild/recipes/spec"
	"github.com/rcbops/rpcbuild/store"
)

var testRelease = spec.Release{
	Name:         "r1",
	Distribution: spec.Distribution{ID: "debian", Version: "13", Codename: "trixie", Arch: "amd64"},
	Time:         1700000000,
}

// lockOf returns a lock with one mirror a name, and a definition that fits it.
func lockOf(t *testing.T, mirrors map[string][]Package) (*Definition, *Lock) {
	d := &Definition{Architectures: []string{"amd64"}, Mirrors: map[string]Mirror{}, Independent: map[string][]string{}}
	l := &Lock{Mirrors: map[string]*MirrorLock{}}
	for _, name := range sortedKeys(mirrors) {
		d.Mirrors[name] = Mirror{Archive: "http://" + name + ".example.org/debian", Suite: "stable", Components: []string{"main"}, Keyring: "k"}
		d.Integrated = append(d.Integrated, name)
		l.Mirrors[name] = d.newMirrorLock(name)
		l.Mirrors[name].Packages = mirrors[name]
	}
	if err := d.Validate(); err != nil {
		t.Fatal(err)
	}
	return d, l
}

func archiveOf(d *Definition) func(string) (string, error) {
	archive := Archives("/nonexistent")
	return func(mirror string) (string, error) { return archive(d.Mirrors[mirror]) }
}

func pkg(name, version string, content byte) Package {
	return Package{
		Name: name, Version: version, Arch: "amd64", Filename: "pool/main/" + name + "_" + version + "_amd64.deb",
		Size: 1, SHA256: fmt.Sprintf("%x", sha256.Sum256([]byte{content})),
	}
}

// TestParams holds the encoding that decides what a repository is.
func TestParams(t *testing.T) {
	d, l := lockOf(t, map[string][]Package{"a": {pkg("lib", "1", 1), pkg("lib", "1:0", 2)}})
	nodes, err := d.Nodes(l, testRelease, archiveOf(d))
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		node *derive.Node
		want string
	}{
		{nodes.Integrated, `{"prefix":"apt-mirror/integrated","suite":"r1-trixie","component":"main","architectures":["amd64"],` +
			`"label":"integrated","time":1700000000,"packages":[` +
			`{"name":"lib","version":"1:0","arch":"amd64","size":1,"sha256":"dbc1b4c900ffe48d575b5da5c638040125f65db0fe3e24494b76ea986457d986"},` +
			`{"name":"lib","version":"1","arch":"amd64","size":1,"sha256":"4bf5122f344554c53bde2ebb8cd2b7e3d1600ad631c385a5d7cce23c7785459a"}]}`},
		{ResolveNode("resolve/x", nodes.Integrated, Query{Packages: []string{"b", "a", "b"}}, nil),
			`{"packages":["a","b"],"essential":false,"repository":"apt-mirror/integrated",` +
				`"index":"dists/r1-trixie/main/binary-amd64/Packages","arch":"amd64"}`},
	} {
		got, err := store.CanonicalJSON(test.node.Params)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != test.want {
			t.Errorf("%s:\n got %s\nwant %s", test.node.Name, got, test.want)
		}
	}
}

func TestNodes(t *testing.T) {
	d, l := lockOf(t, map[string][]Package{"a": {pkg("lib", "1", 1)}, "b": {pkg("lib", "1", 1)}, "c": {pkg("lib", "1", 2)}})
	d.Integrated = []string{"a", "b"}
	d.Independent = map[string][]string{"one": {"a"}, "two": {"c"}}
	nodes, err := d.Nodes(l, testRelease, archiveOf(d))
	if err != nil {
		t.Fatal(err)
	}
	same, other := nodes.Integrated.Inputs["lib_1_amd64"].Node, nodes.Independent["two"].Inputs["lib_1_amd64"].Node
	if same != nodes.Independent["one"].Inputs["lib_1_amd64"].Node || same.Name != "deb/lib_1_amd64" {
		t.Errorf("the same .deb has two nodes, or a strange name: %s", same.Name)
	}
	if other.Name != "deb/lib_1_amd64_dbc1b4c900ffe48d" {
		t.Errorf("the .deb with other content is named %s", other.Name)
	}
	if _, err := derive.NewGraph(nodes.Integrated, nodes.Independent["one"], nodes.Independent["two"]); err != nil {
		t.Error(err)
	}
	d.Integrated = []string{"a", "c"}
	_, err = d.Nodes(l, testRelease, archiveOf(d))
	if err == nil || !strings.Contains(err.Error(), "apt/integrated: mirrors a and c both have lib_1_amd64, with different content") {
		t.Errorf("got %v", err)
	}
}

func TestURLs(t *testing.T) {
	p := pkg("lib++", "1:2~x", 1)
	d, l := lockOf(t, map[string][]Package{"a": {p}, "b": {p}})
	m := d.Mirrors["b"]
	m.Archive = Host // which this machine does not have
	d.Mirrors["b"] = m
	g := &nodeMaker{lock: l, rel: testRelease, archive: archiveOf(d), fetches: make(map[string]*fetched)}
	for _, mirror := range []string{"b", "a"} {
		if _, err := g.fetch(mirror, p); err != nil {
			t.Fatal(err)
		}
	}
	got, err := g.urls(g.fetches["deb/"+p.ID()])
	want := []string{"http://a.example.org/debian/pool/main/lib++_1:2~x_amd64.deb"}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
	g.fetches["deb/"+p.ID()].sources = []source{{"b", p.Filename}}
	if _, err := g.urls(g.fetches["deb/"+p.ID()]); err == nil || !strings.Contains(err.Error(), "archive setting") {
		t.Errorf("got %v, want what to do", err)
	}
}

// TestFetch fetches a .deb from where its node says, as upstreams are after the lock was made.
func TestFetch(t *testing.T) {
	for _, test := range []struct {
		name   string
		breaks func(stable, other *apttest.Server)
		want   string
	}{
		{"as locked", func(*apttest.Server, *apttest.Server) {}, ""},
		{"first mirror lost it", func(stable, _ *apttest.Server) { stable.Break(".deb", apttest.NotFound) }, ""},
		{"first mirror changed it", func(stable, _ *apttest.Server) { stable.Break(".deb", apttest.Corrupt) }, ""},
		{"all lost it", func(stable, other *apttest.Server) {
			stable.Break(".deb", apttest.NotFound)
			other.Break(".deb", apttest.NotFound)
		}, "404"},
		{"all changed it", func(stable, other *apttest.Server) {
			stable.Break(".deb", apttest.Corrupt)
			other.Break(".deb", apttest.Corrupt)
		}, "want sha256:"},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			lock, err := w.resolve(nil)
			w.check(err)
			other := apttest.Serve(w.dir)
			t.Cleanup(other.Close)
			test.breaks(w.server, other)
			urls := map[string]string{"stable": w.server.URL, "other": other.URL}
			archive := func(mirror string) (string, error) { return urls[mirror], nil }
			g := &nodeMaker{lock: lock, archive: archive, fetches: make(map[string]*fetched)}
			p := lock.Mirrors["stable"].Packages[0]
			for _, mirror := range []string{"stable", "other"} {
				_, err := g.fetch(mirror, p)
				w.check(err)
			}
			from, err := g.urls(g.fetches["deb/"+p.ID()])
			w.check(err)
			blob, err := p.Blob()
			w.check(err)
			err = w.client.File(context.Background(), from, filepath.Join(t.TempDir(), "deb"), blob, nil)
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

// build runs a node's builder on inputs, which are folders by name, and returns the output.
func build(t *testing.T, n *derive.Node, inputs string) (string, error) {
	params, err := store.CanonicalJSON(n.Params)
	if err != nil {
		t.Fatal(err)
	}
	drv := &derive.Derivation{Kind: n.Kind, Params: params, Inputs: map[string]store.ArtifactID{}}
	for name := range n.Inputs {
		drv.Inputs[name] = store.ArtifactID{}
	}
	output := t.TempDir()
	for _, k := range Kinds() {
		if k.Name == n.Kind {
			return output, k.Build(context.Background(), derive.NewBuild(drv, inputs, output, t.TempDir(), new(bytes.Buffer)))
		}
	}
	t.Fatalf("no kind %s", n.Kind)
	return "", nil
}

// resolved returns the nodes of a world's lock, and a folder with the inputs of its integrated
// repository, as upstream has them.
func (w *world) resolved() (*Nodes, string) {
	lock, err := w.resolve(nil)
	w.check(err)
	nodes, err := w.def.Nodes(lock, testRelease, archiveOf(w.def))
	w.check(err)
	inputs := w.t.TempDir()
	for _, m := range lock.Mirrors {
		for _, p := range m.Packages {
			w.check(os.MkdirAll(filepath.Join(inputs, p.ID()), 0o755))
			content, err := os.ReadFile(filepath.Join(w.dir, p.Filename))
			w.check(err)
			w.check(os.WriteFile(filepath.Join(inputs, p.ID(), filepath.Base(p.Filename)), content, 0o444))
		}
	}
	return nodes, inputs
}

func tree(t *testing.T, dir string) map[string]string {
	files := make(map[string]string)
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(name)
		rel, _ := filepath.Rel(dir, name)
		files[rel] = string(content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestRepository(t *testing.T) {
	w := newWorld(t)
	w.write("stable", debOf("app", "1", "Depends", "lib"), debOf("lib", "1:1", "Source", "libsource (3)"), debOf("lib", "1", "Source", "libsource"))
	nodes, inputs := w.resolved()
	out, err := build(t, nodes.Integrated, inputs)
	w.check(err)
	files := tree(t, out)
	again, err := build(t, nodes.Integrated, inputs)
	w.check(err)
	if diff := cmp.Diff(files, tree(t, again)); diff != "" {
		t.Errorf("a second build differs:\n%s", diff)
	}
	const root = "apt-mirror/integrated/"
	release := files[root+"dists/r1-trixie/Release"]
	if !strings.HasPrefix(release, "Origin: rpcbuild\nLabel: integrated\nSuite: r1-trixie\nCodename: r1-trixie\nDate: Tue, 14 Nov 2023 22:13:20 UTC\nAcquire-By-Hash: yes\n") {
		t.Errorf("Release:\n%s", release)
	}
	index := files[root+"dists/r1-trixie/main/binary-amd64/Packages"]
	sum := fmt.Sprintf("%x", sha256.Sum256([]byte(index)))
	if files[root+"dists/r1-trixie/main/binary-amd64/by-hash/SHA256/"+sum] != index || !strings.Contains(release, sum) {
		t.Error("the index is not found by its hash")
	}
	var pool []string
	for name := range files {
		if strings.HasSuffix(name, ".deb") {
			pool = append(pool, name)
			if !strings.Contains(index, "\nFilename: "+strings.TrimPrefix(name, root)+"\n") {
				t.Errorf("%s is not in the index", name)
			}
		}
	}
	if len(pool) != 5 || strings.Count(index, "Package: ") != 5 {
		t.Errorf("want 5 packages, the pool has %v", pool)
	}
	if !strings.Contains(index, "\nFilename: pool/main/libs/libsource/lib_1_amd64.deb\n") {
		t.Errorf("index:\n%s", index)
	}
}

// TestRepositoryWithApt lets apt itself read a repository and install from it.
func TestRepositoryWithApt(t *testing.T) {
	if _, err := exec.LookPath("apt-get"); err != nil {
		t.Skip("apt-get is missing")
	}
	w := newWorld(t)
	w.write("stable", debOf("app", "1", "Depends", "lib"), debOf("lib", "1:1"), debOf("lib", "1"))
	nodes, inputs := w.resolved()
	repo, err := build(t, nodes.Integrated, inputs)
	w.check(err)
	dir := t.TempDir()
	for _, d := range []string{"state/lists/partial", "cache/archives/partial", "etc/apt.conf.d", "etc/preferences.d"} {
		w.check(os.MkdirAll(filepath.Join(dir, d), 0o755))
	}
	conf := fmt.Sprintf("Dir::State %q;\nDir::State::status %q;\nDir::Cache %q;\nDir::Etc %q;\nAPT::Architecture \"amd64\";\nAPT::Sandbox::User \"\";\n",
		dir+"/state", dir+"/state/status", dir+"/cache", dir+"/etc")
	for name, content := range map[string]string{
		"apt.conf": conf, "state/status": "",
		"etc/sources.list": "deb [trusted=yes] file:" + repo + "/apt-mirror/integrated r1-trixie main\n",
	} {
		w.check(os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644))
	}
	var out []byte
	for _, args := range [][]string{{"update"}, {"-s", "install", "app"}} {
		cmd := exec.Command("apt-get", args...)
		cmd.Env = append(os.Environ(), "APT_CONFIG="+dir+"/apt.conf", "LC_ALL=C")
		if out, err = cmd.CombinedOutput(); err != nil {
			t.Fatalf("apt-get %v: %v\n%s", args, err, out)
		}
	}
	if !strings.Contains(string(out), "Inst lib (1:1 ") {
		t.Errorf("apt-get install:\n%s", out)
	}
}

func TestRepositoryRefuses(t *testing.T) {
	w := newWorld(t)
	nodes, inputs := w.resolved()
	content, err := debOf("app", "2").Bytes()
	w.check(err)
	file := filepath.Join(inputs, "app_1_amd64", "app_1_amd64.deb")
	w.check(os.Remove(file))
	w.check(os.WriteFile(file, content, 0o444))
	if _, err := build(t, nodes.Integrated, inputs); err == nil || err.Error() != `package app_1_amd64: the .deb says Version: "2"` {
		t.Errorf("got %v", err)
	}
	w.check(os.Remove(file))
	w.check(os.WriteFile(file, []byte("what"), 0o444))
	if _, err := build(t, nodes.Integrated, inputs); err == nil || !strings.Contains(err.Error(), "read package app_1_amd64") {
		t.Errorf("got %v", err)
	}
}
