package cache_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/rcbops/rpcbuild/cache"
	"github.com/rcbops/rpcbuild/store"
	"github.com/rcbops/rpcbuild/store/signature"
)

// What a repo holds that is not what its name promises is refused, and nothing of it is in the store.
func TestWrongFiles(t *testing.T) {
	bomb := func() string {
		var b strings.Builder
		w, err := zstd.NewWriter(&b)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(w, io.LimitReader(endless{}, 1<<30))
		w.Close()
		return b.String()
	}()
	flip := func(b string) string { return string(b[0]^1) + b[1:] }
	cut := func(b string) string { return b[:len(b)/2] }
	for name, c := range map[string]struct {
		glob   string
		change func(string) string
	}{
		"flipped content":    {"blob/*", flip},
		"truncated content":  {"blob/*", cut},
		"flipped chunk":      {"chunk/*", flip},
		"truncated chunk":    {"chunk/*", cut},
		"bomb":               {"chunk/*", func(string) string { return bomb }},
		"flipped bundle":     {"bundle/*", flip},
		"bomb of a bundle":   {"bundle/*", func(string) string { return bomb }},
		"flipped manifest":   {"artifact/*", flip},
		"not a manifest":     {"artifact/*", func(string) string { return "{}" }},
		"flipped derivation": {"derivation/*", flip},
		"flipped statement":  {"realisation/*/*", flip},
		"long statement":     {"realisation/*/*", func(b string) string { return b + strings.Repeat(" ", 1<<20) }},
		"flipped generation": {"generation/*", flip},
		"long generation":    {"generation/*", func(b string) string { return b + b }},
		"pointer elsewhere":  {"current", reseal(t, func(string) string { return `{"schema":1,"sequence":9,"generation":"../../../etc/passwd","size":9}` })},
		"newer schema":       {"current", reseal(t, func(b string) string { return strings.Replace(b, `"schema":1`, `"schema":2`, 1) })},
		"another release":    {"release/*", reseal(t, func(b string) string { return strings.Replace(b, "r1.0.0", "r2.0.0", 1) })},
		"not an envelope":    {"current", func(string) string { return `{"schema":1,"sequence":9,"generation":"","size":9}` }},
	} {
		t.Run(name, func(t *testing.T) {
			dir, st, to := t.TempDir(), openStore(t), openStore(t)
			rel := sample(t, st)
			push(t, openRepo(t, dir, cache.Options{}), st, rel, cache.PushOptions{})
			if !strings.HasPrefix(c.glob, "bundle/") { // else what a bundle holds is not read by itself
				os.RemoveAll(filepath.Join(dir, "cache/v1/bundle"))
			}
			changed := change(t, filepath.Join(dir, "cache/v1", c.glob), c.change)
			for _, url := range []string{dir, serve(t, dir)} {
				r := openRepo(t, url, cache.Options{})
				_, err := r.Release(t.Context(), rel.Name)
				if err == nil {
					_, err = r.Lookup(t.Context(), []store.DrvID{rel.Items[0].Drv, rel.Items[1].Drv})
				}
				if err == nil {
					_, err = r.Pull(t.Context(), to, rel, nil)
				}
				var wrong *cache.WrongError
				if !errors.As(err, &wrong) || !strings.Contains(err.Error(), "cache/v1/") {
					t.Errorf("%s: %v, want a *cache.WrongError with the path", url, err)
				}
			}
			for _, it := range rel.Items {
				wantNothingWrong(t, to, it)
			}
			t.Logf("%d files were changed", changed)
		})
	}
}

// reseal returns a function that changes what an envelope holds.
func reseal(t *testing.T, change func(string) string) func(string) string {
	return func(text string) string {
		var e map[string]any
		if err := json.Unmarshal([]byte(text), &e); err != nil {
			t.Fatal(err)
		}
		payload, err := base64.StdEncoding.DecodeString(e["payload"].(string))
		if err != nil {
			t.Fatal(err)
		}
		sealed, err := signature.Seal(e["payloadType"].(string), []byte(change(string(payload))), nil)
		if err != nil {
			t.Fatal(err)
		}
		return string(sealed.Text) + "\n"
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func change(t *testing.T, glob string, change func(string) string) int {
	t.Helper()
	names, err := filepath.Glob(glob)
	if err != nil || len(names) == 0 {
		t.Fatalf("%s: %d files, %v", glob, len(names), err)
	}
	for _, name := range names {
		b := change(read(t, name))
		if err := errors.Join(os.Remove(name), os.WriteFile(name, []byte(b), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	return len(names)
}

// wantNothingWrong checks that whatever of an item is in the store is right.
func wantNothingWrong(t *testing.T, st *store.Store, it cache.Item) {
	t.Helper()
	err := filepath.WalkDir(filepath.Join(st.Dir(), "blob"), func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(name)
		if got := store.HashBlob(b).Digest.Encoded(); got != filepath.Base(filepath.Dir(name))+filepath.Base(name) {
			t.Errorf("the store holds %s under the name %s", got, name)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	if _, err := st.Manifest(it.Artifact); err != nil && !errors.Is(err, store.ErrNotFound) {
		t.Errorf("%s: %v", it.Name, err)
	}
	if b, err := st.Derivation(it.Drv); err == nil && store.HashDrv(b) != it.Drv {
		t.Errorf("%s: the store holds another derivation", it.Name)
	}
}

// A server whose bodies never end is read no further than what is asked for can be.
func TestEndlessBodies(t *testing.T) {
	dir, st := t.TempDir(), openStore(t)
	rel := sample(t, st)
	push(t, openRepo(t, dir, cache.Options{}), st, rel, cache.PushOptions{})
	files := http.FileServer(http.Dir(dir))
	for _, part := range []string{"/current", "/generation/", "/bundle/", "/chunk/", "/release/"} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !strings.Contains(r.URL.Path, part) {
				files.ServeHTTP(w, r)
				return
			}
			io.Copy(w, io.LimitReader(endless{}, 1<<31)) // chunked: its length is not said
		}))
		r := openRepo(t, srv.URL, cache.Options{})
		_, err := r.Release(t.Context(), rel.Name)
		if err == nil {
			_, err = r.Lookup(t.Context(), []store.DrvID{rel.Items[1].Drv})
		}
		if err == nil {
			_, err = r.Fetch(t.Context(), rel.Items[1].Artifact, openStore(t), nil)
		}
		if err == nil {
			t.Errorf("%s: no error", part)
		}
		r.Close()
		srv.Close()
	}
}

func TestCheckDeep(t *testing.T) {
	for name, c := range map[string]struct {
		glob   string
		damage func(string) error
		item   int
		want   cache.State
	}{
		"lost path":    {"pools/debian-13-x86_64/x/x.whl", os.Remove, 0, cache.Missing},
		"lost index":   {"meta/1.0/index-system", os.Remove, 2, cache.Missing},
		"lost line":    {"meta/1.0/index-system", func(n string) error { return os.Truncate(n, 5) }, 2, cache.Wrong},
		"other list":   {"os-releases/r1.0.0/MANIFEST.in", func(n string) error { return errors.Join(os.Remove(n), os.WriteFile(n, []byte("x"), 0o644)) }, 3, cache.Wrong},
		"lost content": {"cache/v1/chunk/*", os.Remove, 1, cache.Missing},
	} {
		t.Run(name, func(t *testing.T) {
			dir, st := t.TempDir(), openStore(t)
			rel := sample(t, st)
			r := openRepo(t, dir, cache.Options{})
			push(t, r, st, rel, cache.PushOptions{})
			names, err := filepath.Glob(filepath.Join(dir, c.glob))
			if err != nil || len(names) == 0 {
				t.Fatal(names, err)
			}
			if err := c.damage(names[0]); err != nil {
				t.Fatal(err)
			}
			v, err := r.Check(t.Context(), rel.Items, true)
			if err != nil || v[c.item].State != c.want || v[c.item].Reason == "" {
				t.Errorf("check: %+v, %v, want %s", v[c.item], err, c.want)
			}
		})
	}
}

func TestCheck(t *testing.T) {
	dir, st, other := t.TempDir(), openStore(t), openStore(t)
	rel := sample(t, st)
	r := openRepo(t, dir, cache.Options{})
	push(t, r, st, cache.Release{Name: "r", Items: rel.Items[:2]}, cache.PushOptions{})
	items := append([]cache.Item(nil), rel.Items[:3]...)
	items[0].Artifact = store.ArtifactID{} // any
	items[1] = add(t, other, "chroot/base", "b", map[string]string{"x": "other"}, store.Manifest{})
	v, err := r.Check(t.Context(), items, false)
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(v[0].State, v[1].State, v[2].State); got != fmt.Sprint(cache.Present, cache.Wrong, cache.Missing) {
		t.Errorf("states: %s", got)
	}
	missing := filepath.Join(t.TempDir(), "none")
	gone, err := cache.Open(missing, cache.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := gone.Check(t.Context(), items, false); !errors.Is(err, cache.ErrUnreachable) {
		t.Errorf("check of a repo that is not there: %v", err)
	}
}
