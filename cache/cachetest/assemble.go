package cachetest

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/rcbops/rpcbuild/cache"
)

// assemble: content of which other files have parts comes out whole, and not much more is sent than is new.
func (s suite) assemble(t *testing.T) {
	w, ok := s.w.(cache.Assembler)
	if !ok {
		return // all is sent
	}
	const mb = 1 << 20
	all := noise(43 * mb)
	old, fresh := all[:40*mb], all[40*mb:]
	must(t, w.Put(t.Context(), "assemble/old", bytes.NewReader(old)))
	must(t, w.Put(t.Context(), "assemble/other", bytes.NewReader(old[20*mb:])))
	span := func(offset, size int, name string, from int) cache.Span {
		return cache.Span{Offset: int64(offset), Size: int64(size), Path: "assemble/" + name, From: int64(from)}
	}
	for name, tt := range map[string]struct {
		content []byte
		spans   []cache.Span
		most    int // bytes to be sent
	}{
		"nothing":    {nil, nil, 0},
		"no spans":   {fresh, nil, 3 * mb},
		"all":        {old, []cache.Span{span(0, 40*mb, "old", 0)}, 0},
		"begins new": {concat(fresh[:99], old), []cache.Span{span(99, 40*mb, "old", 0)}, 5*mb + 99},
		"ends new":   {concat(old, fresh[:99]), []cache.Span{span(0, 40*mb, "old", 0)}, 99},
		"two files": {
			concat(old[:20*mb], fresh, old[20*mb:]),
			[]cache.Span{span(0, 20*mb, "old", 0), span(23*mb, 20*mb, "other", 0)}, 5 * mb,
		},
		"turned": {
			concat(old[30*mb:], old[:30*mb]), []cache.Span{span(0, 10*mb, "other", 10*mb), span(10*mb, 30*mb, "old", 0)}, 0,
		},
		"small": {
			concat(old[:777], fresh, old[5000:9000], fresh), []cache.Span{span(0, 777, "old", 0), span(777+3*mb, 4000, "old", 5000)}, 7 * mb,
		},
	} {
		sent, err := w.Assemble(t.Context(), "assemble/new", local(t, tt.content), tt.spans)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		must(t, w.Flush(t.Context()))
		if sent > int64(tt.most) {
			t.Errorf("%s: %d bytes were sent, want at most %d", name, sent, tt.most)
		}
		if got := s.read(t, "assemble/new"); got != string(tt.content) {
			t.Errorf("%s: %d bytes came back as %d others", name, len(tt.content), len(got))
		}
	}
	before := s.all(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := w.Assemble(ctx, "assemble/none", local(t, old), []cache.Span{span(0, 40*mb, "old", 0)}); !errors.Is(err, context.Canceled) {
		t.Errorf("assemble: %v, want the context's error", err)
	}
	for name, wrong := range map[string]cache.Span{"missing": span(0, 40*mb, "missing", 0), "too short": span(0, 40*mb, "other", 0)} {
		if _, err := w.Assemble(t.Context(), "assemble/none", local(t, old), []cache.Span{wrong}); err == nil || errors.Is(err, cache.ErrUnreachable) {
			t.Errorf("assemble of a file that is %s: %v, want an error", name, err)
		}
	}
	if _, err := s.w.Stat(t.Context(), "assemble/none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("stat: %v, want fs.ErrNotExist", err)
	}
	if after := s.all(t); len(after) != len(before) {
		t.Errorf("of %d files became %d: %q", len(before), len(after), after)
	}
}

func concat(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// local returns a file of this machine.
func local(t *testing.T, content []byte) *os.File {
	t.Helper()
	name := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(name, content, 0o644))
	f, err := os.Open(name)
	must(t, err)
	t.Cleanup(func() { f.Close() })
	return f
}
