package cache_test

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/html"

	"github.com/rcbops/rpcbuild/cache"
	"github.com/rcbops/rpcbuild/store"
)

// browse opens a page, and returns its text and the links on it.
func browse(t *testing.T, page string) (text string, links []string) {
	t.Helper()
	resp, err := http.Get(page)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/html") {
		t.Fatalf("%s: %s, %s", page, resp.Status, resp.Header.Get("Content-Type"))
	}
	tokens := html.NewTokenizer(resp.Body)
	for {
		switch tokens.Next() {
		case html.ErrorToken:
			if tokens.Err() != io.EOF {
				t.Fatal(tokens.Err())
			}
			return text, links
		case html.TextToken:
			text += string(tokens.Text())
		case html.StartTagToken:
			for _, a := range tokens.Token().Attr {
				if a.Key == "href" {
					to, err := resp.Request.URL.Parse(a.Val)
					if err != nil {
						t.Fatal(err)
					}
					links = append(links, to.String())
				}
			}
		}
	}
}

// The pages say what there is, how large, who built it and where it lies, and each link leads there.
func TestPages(t *testing.T) {
	dir, st, key := t.TempDir(), openStore(t), newKey(t)
	rel := sample(t, st)
	signed(t, st, key, rel.Items)
	r := openRepo(t, dir, cache.Options{Key: key})
	push(t, r, st, rel, cache.PushOptions{})
	push(t, r, st, images(t, st, "r2.0.0+1", "an image"), cache.PushOptions{})
	site := serve(t, dir) + "/"
	text, links := browse(t, site)
	for _, want := range []string{"5 artifacts", "r1.0.0", "r2.0.0+1"} {
		if !strings.Contains(text, want) {
			t.Errorf("the page of all releases does not say %q:\n%s", want, text)
		}
	}
	text, more := browse(t, site+"releases/r1.0.0/")
	for _, want := range []string{"wheel/x", "by a, in 1.5 s", "links/debian-13-x86_64/x.whl", key.Public().String()} {
		if !strings.Contains(text, want) {
			t.Errorf("the page of the release does not say %q:\n%s", want, text)
		}
	}
	for _, link := range append(links, more...) {
		if resp, err := http.Get(link); err != nil || resp.StatusCode != http.StatusOK || strings.Contains(link, "//r") {
			t.Errorf("the link to %s leads nowhere", link)
		}
	}
}

// What somebody calls an artifact is text on the page, and a path a path.
func TestPagesEscape(t *testing.T) {
	dir, st := t.TempDir(), openStore(t)
	name := `image/<script>alert("x")</script>`
	it := add(t, st, "image/x", "<b>builder</b>", map[string]string{"f": "f"}, store.Manifest{
		Publish: []store.Publication{{Path: `a/javascript:"'<b>?x#y`, File: "f"}},
	})
	it.Name = name
	push(t, openRepo(t, dir, cache.Options{}), st, cache.Release{Name: "r", Lock: []byte("l"), Items: []cache.Item{it}}, cache.PushOptions{})
	site := serve(t, dir)
	text, links := browse(t, site+"/releases/r/")
	if got := html.UnescapeString(text); !strings.Contains(got, name) || !strings.Contains(got, "<b>builder</b>") {
		t.Errorf("the page says\n%s", got)
	}
	want := site + "/a/" + url.PathEscape(`javascript:"'<b>?x#y`)
	found := false
	for _, link := range links {
		found = found || link == want
		if u, err := url.Parse(link); err != nil || u.Scheme != "http" {
			t.Errorf("a link to %q", link)
		}
	}
	if resp, err := http.Get(want); err != nil || resp.StatusCode != http.StatusOK || !found {
		t.Errorf("no link to %s in %q", want, links)
	}
}

// Of jobs that push releases at the same time, wherever to, the page of all has all.
func TestIndexPageOfPushersAtOnce(t *testing.T) {
	for name, begin := range remotes(t) {
		t.Run(name, func(t *testing.T) {
			at := begin(t)
			var wg sync.WaitGroup
			for i := range 4 {
				st, r := openStore(t), openRepo(t, at.write, at.opts)
				rel := cache.Release{Name: fmt.Sprintf("r%d", i), Lock: []byte("l"), Items: []cache.Item{
					add(t, st, fmt.Sprintf("wheel/%d", i), "a", map[string]string{"f": fmt.Sprint(i)}, store.Manifest{}),
				}}
				wg.Go(func() { push(t, r, st, rel, cache.PushOptions{}) })
			}
			wg.Wait()
			text := read(t, at.dir, "index.html")
			for i := range 4 {
				if want := fmt.Sprintf("releases/r%d/", i); !strings.Contains(text, want) {
					t.Errorf("the page lacks %s", want)
				}
			}
		})
	}
}

// Of jobs that push parts of a release at the same time, the page has all.
func TestPagesOfPushersAtOnce(t *testing.T) {
	dir := t.TempDir()
	var wg sync.WaitGroup
	for i := range 4 {
		st, r := openStore(t), openRepo(t, dir, cache.Options{})
		it := add(t, st, fmt.Sprintf("wheel/part%d", i), "a", map[string]string{"f": fmt.Sprint(i)}, store.Manifest{})
		wg.Go(func() {
			push(t, r, st, cache.Release{Name: "r", Lock: []byte("l"), Items: []cache.Item{it}}, cache.PushOptions{})
		})
	}
	wg.Wait()
	text, _ := browse(t, serve(t, dir)+"/releases/r/")
	for i := range 4 {
		if want := fmt.Sprintf("wheel/part%d", i); !strings.Contains(text, want) {
			t.Errorf("the page lacks %s", want)
		}
	}
}
