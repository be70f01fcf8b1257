package python

import (
	"strings"
	"testing"
)

func FuzzParseWheelName(f *testing.F) {
	for _, s := range []string{"a-1-py3-none-any.whl", "A.b_c-1.0+l-1_ab-cp311.cp312-abi3-linux_x86_64.whl", "../a-1-py3-none-any.whl", "a-1-py3-none-any.whl\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, file string) {
		w, err := parseWheelName(file)
		if err != nil {
			return
		}
		again := w.named(make([]byte, 32))
		if strings.ContainsAny(again, "/\x00\n ") || strings.HasPrefix(again, ".") {
			t.Errorf("%q is published as %q", file, again)
		}
		if w2, err := parseWheelName(again); err != nil || w2 != w {
			t.Errorf("%q: %+v, and of its published name %q: %+v, %v", file, w, again, w2, err)
		}
	})
}

func FuzzParseMetadata(f *testing.F) {
	f.Add([]byte("Metadata-Version: 2.1\r\nName: A_b.c\r\nVersion: 1.0\r\n\r\nName: text"))
	f.Fuzz(func(t *testing.T, b []byte) {
		name, version := parseMetadata(b)
		if strings.Contains(name+version, "\n") {
			t.Errorf("name %q, version %q", name, version)
		}
		if normalize(name) != name {
			t.Errorf("name %q is normalized once more", name)
		}
	})
}
