package python

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/rcbops/rpcbuild/derive"
	"github.com/rcbops/rpcbuild/recipes/spec"
)

func nodesOf(t *testing.T, l *Lock, release string) *Nodes {
	t.Helper()
	rel := spec.Release{Name: release, Time: int64(len(release)), Distribution: spec.Distribution{ID: "debian", Version: "13", Codename: "trixie", Arch: "amd64"}}
	nodes, err := lockDefinition().Nodes(l, rel, &derive.Node{Name: "chroot/build", Kind: "chroot"}, []string{"requirements", "playbooks"},
		func(project, filename, sha256 string) derive.Locator {
			return derive.At("https://index.example/" + filename)
		})
	if err != nil {
		t.Fatal(err)
	}
	return nodes
}

func TestNodes(t *testing.T) {
	nodes := nodesOf(t, goodLock(), "r1")
	got := make(map[string][]string)
	g, err := derive.NewGraph(nodes.Release)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range g.Nodes {
		inputs := slices.Sorted(maps.Keys(n.Inputs))
		for i, name := range inputs {
			inputs[i] = name + " = " + n.Inputs[name].Name
		}
		got[n.Kind+" "+n.Name] = inputs
	}
	want := map[string][]string{
		"chroot chroot/build":                      nil,
		"fetch fetch/buildtool-1-py3-none-any.whl": nil,
		"fetch fetch/native-1.0.tar.gz":            nil,
		"fetch fetch/service-2.0-py3-none-any.whl": nil,
		"wheel wheel/native":                       {"build/buildtool = fetch/buildtool-1-py3-none-any.whl", "chroot = chroot/build", "sdist = fetch/native-1.0.tar.gz"},
		"venv venv/service":                        {"chroot = chroot/build", "wheel/native = wheel/native", "wheel/service = fetch/service-2.0-py3-none-any.whl"},
		"python-release python/release":            {"venv/service = venv/service", "wheel/native = wheel/native", "wheel/service = fetch/service-2.0-py3-none-any.whl"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// A wheel says nothing of a release, and so is the same one for the next.
func TestWheelsServeManyReleases(t *testing.T) {
	a, b := nodesOf(t, goodLock(), "r1"), nodesOf(t, goodLock(), "r2.0")
	if diff := cmp.Diff(a.Wheels["native"].Params, b.Wheels["native"].Params); diff != "" {
		t.Errorf("(-r1 +r2.0):\n%s", diff)
	}
}

func TestNodesRefuse(t *testing.T) {
	l := goodLock()
	l.Packages[0].Build, l.Packages[0].File.Name, l.Packages[0].Requires = true, "buildtool-1.tar.gz", []string{"native==1.0"}
	d := lockDefinition()
	locate := func(string, string, string) derive.Locator { return derive.At() }
	if _, err := d.Nodes(l, spec.Release{}, &derive.Node{}, nil, locate); err == nil || !strings.Contains(err.Error(), "needs itself to be built") {
		t.Errorf("cycle: got %v", err)
	}
	d.Pure = nil
	if _, err := d.Nodes(goodLock(), spec.Release{}, &derive.Node{}, nil, locate); err == nil || !strings.Contains(err.Error(), "resolve the release again") {
		t.Errorf("other definition: got %v", err)
	}
}

func TestBuildRelease(t *testing.T) {
	native, service := []byte("native"), []byte("service")
	b := newBuild(t, nodesOf(t, goodLock(), "r1").Release.Params, map[string]map[string][]byte{
		"wheel/native":  {"native-1.0-cp313-cp313-linux_x86_64.whl": native},
		"wheel/service": {"service-2.0-py3-none-any.whl": service},
		"venv/service":  {"service-r1-x86_64.tgz": nil},
	})
	if err := buildRelease(context.Background(), b); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"MANIFEST.in": `openstackgit/playbooks
openstackgit/requirements
os-releases/r1/debian-13-x86_64/native-1.0-cp313-cp313-linux_x86_64.whl
os-releases/r1/debian-13-x86_64/requirements_absolute_requirements.txt
os-releases/r1/debian-13-x86_64/requirements_constraints.txt
os-releases/r1/debian-13-x86_64/service-2.0-py3-none-any.whl
pools/debian-13-x86_64/native/native-1.0-cp313-cp313-linux_x86_64.whl
pools/debian-13-x86_64/service/service-2.0-py3-none-any.whl
venvs/r1/debian-13-x86_64/service-r1-x86_64.checksum
venvs/r1/debian-13-x86_64/service-r1-x86_64.tgz
`,
		"requirements_constraints.txt": "native==1.0\nservice==2.0\n",
		"requirements_absolute_requirements.txt": "native==1.0 --hash=sha256:" + digest.FromBytes(native).Encoded() +
			"\nservice==2.0 --hash=sha256:" + digest.FromBytes(service).Encoded() + "\n",
		"service-2.0-py3-none-any.whl": "service",
	}
	got := make(map[string]string)
	for name := range outputs(t, b) {
		content, err := os.ReadFile(filepath.Join(b.Output, name))
		if err != nil {
			t.Fatal(err)
		}
		got[name] = string(content)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
