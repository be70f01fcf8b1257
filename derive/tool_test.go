package derive

import (
	"regexp"
	"testing"

	"github.com/rcbops/rpcbuild/derive/sandbox"
	"github.com/rcbops/rpcbuild/store"
)

func TestTool(t *testing.T) {
	want := `^rpcbuild v1, go\S+, Linux \S+ \S+$`
	if sandbox.Version() != "" {
		want = `^rpcbuild v1, go\S+, Linux \S+ \S+, LXC \d+\.\S+$`
	}
	got := Tool("rpcbuild v1")
	if !regexp.MustCompile(want).MatchString(got) {
		t.Errorf("got %q, want %s", got, want)
	}
	if err := store.CheckWords(got); err != nil {
		t.Errorf("no realisation can say that: %v", err)
	}
}
