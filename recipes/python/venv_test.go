package python

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func serviceParams() venvParams {
	return venvParams{Name: "service", Release: "r1", Machine: "x86_64", Platform: "debian-13-x86_64", Packages: []string{"helper==1.0", "service==2.0"}}
}

func serviceInputs(t *testing.T, requires string) map[string]map[string][]byte {
	return map[string]map[string][]byte{
		"chroot": nil,
		"wheel/helper": {"helper-1.0-py3-none-any.whl": makeWheel(t, "helper", "1.0", "", map[string]string{
			"helper/__init__.py": "answer = 'yes'\n", "helper/template.py": "not Python {\n"})},
		"wheel/service": {"service-2.0-py3-none-any.whl": makeWheel(t, "service", "2.0", "Requires-Dist: "+requires+"\n", map[string]string{
			"service.py":                             "def main():\n    import helper\n    print(helper.answer)\n",
			"service-2.0.dist-info/entry_points.txt": "[console_scripts]\nservice = service:main\n"})},
	}
}

func TestBuildVenvSameBits(t *testing.T) {
	inputs := serviceInputs(t, "helper>=1")
	first, second := newBuild(t, serviceParams(), inputs), newBuild(t, serviceParams(), inputs)
	if err := buildVenv(context.Background(), first); err != nil {
		t.Fatal(err)
	}
	if err := buildVenv(context.Background(), second); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(outputs(t, first), outputs(t, second)); diff != "" {
		t.Errorf("two builds differ (-first +second):\n%s", diff)
	}
	tgz, err := os.ReadFile(filepath.Join(first.Output, "service-r1-x86_64.tgz"))
	if err != nil {
		t.Fatal(err)
	}
	sum := sha1.Sum(tgz)
	checksum, err := os.ReadFile(filepath.Join(first.Output, "service-r1-x86_64.checksum"))
	if err != nil || string(checksum) != hex.EncodeToString(sum[:]) {
		t.Errorf("checksum is %q, want %x (%v)", checksum, sum, err)
	}
	members := readTar(t, filepath.Join(first.Output, "service-r1-x86_64.tgz"))
	if script := members["bin/service"]; !strings.HasPrefix(script, "#!/openstack/venvs/service-r1/bin/python3") {
		t.Errorf("bin/service begins with %.60q, want the final path", script)
	}
	var bytecode int
	for name, content := range members {
		if strings.HasSuffix(name, ".pyc") && strings.Contains(name, "/helper/") {
			bytecode++
			if content[4] != 1 {
				t.Errorf("%s: flags are %d, want an unchecked hash", name, content[4])
			}
		}
		if strings.Contains(content, first.Scratch) {
			t.Errorf("%s names the scratch folder", name)
		}
		if strings.Contains(name, "direct_url.json") {
			t.Errorf("%s says where wheels were during the build", name)
		}
	}
	if bytecode != 1 {
		t.Errorf("helper has %d files of bytecode, want 1", bytecode)
	}
}

func TestBuildVenvRefusesConflict(t *testing.T) {
	b := newBuild(t, serviceParams(), serviceInputs(t, "helper>=3"))
	if err := buildVenv(context.Background(), b); err == nil || !strings.Contains(err.Error(), "service 2.0 has requirement helper>=3") {
		t.Errorf("got %v, want what pip check says", err)
	}
}

func readTar(t *testing.T, name string) map[string]string {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	members := make(map[string]string)
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return members
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		members[h.Name] = string(content)
	}
}
