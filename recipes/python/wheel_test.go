package python

import (
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func nativeParams() wheelParams {
	return wheelParams{Project: "native", Version: "1.0", Compiled: true, Machine: "x86_64", Platform: "debian-13-x86_64"}
}

func nativeInputs(t *testing.T, n nativeSource) map[string]map[string][]byte {
	return map[string]map[string][]byte{"chroot": nil, "sdist": {"native-1.0.tar.gz": n.make(t)}}
}

func TestBuildWheelSameBits(t *testing.T) {
	inputs := nativeInputs(t, nativeSource{requires: `"buildtool"`, extra: "import buildtool"})
	inputs["build/buildtool"] = map[string][]byte{"buildtool-1-py3-none-any.whl": makeWheel(t, "buildtool", "1", "", map[string]string{"buildtool.py": ""})}
	first, second := newBuild(t, nativeParams(), inputs), newBuild(t, nativeParams(), inputs)
	if err := buildWheel(context.Background(), first); err != nil {
		t.Fatal(err)
	}
	if err := buildWheel(context.Background(), second); err != nil {
		t.Fatal(err)
	}
	got := outputs(t, first)
	if diff := cmp.Diff(got, outputs(t, second)); diff != "" {
		t.Errorf("two builds differ (-first +second):\n%s", diff)
	}
	for name, sum := range got {
		if want := "native-1.0-1_" + sum.Encoded()[:12] + "-cp37-abi3-linux_x86_64.whl"; name != want || len(got) != 1 {
			t.Errorf("got %v, want just %s", got, want)
		}
	}
}

func TestBuildWheelRefuses(t *testing.T) {
	other := nativeParams()
	other.Version = "1.1"
	foreign := nativeParams()
	foreign.Machine = "riscv64"
	for _, test := range []struct {
		name   string
		params wheelParams
		source nativeSource
		want   string
	}{
		{"network", nativeParams(), nativeSource{extra: `import urllib.request; urllib.request.urlopen("http://upstream.example/")`}, "it wanted the network, which builds do not have"},
		{"missing requirement", nativeParams(), nativeSource{requires: `"missing-tool>2"`}, "it needs missing-tool"},
		{"falls back to plain Python", nativeParams(), nativeSource{pure: true}, "holds no compiled code"},
		{"other version", other, nativeSource{}, "says that it is native 1.0, and the lock has native 1.1"},
		{"other machine", foreign, nativeSource{}, "is for the platform linux_x86_64, want linux_riscv64"},
		{"backend fails", nativeParams(), nativeSource{extra: "raise SystemExit(3)"}, "exit status"},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := buildWheel(context.Background(), newBuild(t, test.params, nativeInputs(t, test.source)))
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want an error with %q", err, test.want)
			}
		})
	}
}
