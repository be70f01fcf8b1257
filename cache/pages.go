package cache

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"html/template"
	"net/url"
	"path"
	"slices"
	"sync"
	"time"

	"github.com/rcbops/rpcbuild/store"
)

// Pages are for people with a browser: what releases there are, and of each one what it is made of, how large
// that is, who built it with what, and where it lies. A push makes them anew from what clients read.

const (
	pagesDir  = "releases"   // release/<name>/index.html below it
	indexPage = "index.html" // at the web root
)

func releasePage(name string) string { return path.Join(pagesDir, name, "index.html") }

//go:embed pages.html
var pagesText string

// pageTemplates are parsed when the first page is made, and not in each program that only reads.
var pageTemplates = sync.OnceValue(func() *template.Template {
	return template.Must(template.New("").Funcs(template.FuncMap{
		"mb":   func(n int64) string { return fmt.Sprintf("%.1f", float64(n)/1e6) },
		"date": func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") },
		// up returns a link from a release's page to a path under the web root, escaped, and of no other scheme.
		"up":    func(path string) template.URL { return template.URL((&url.URL{Path: "../../" + path}).String()) },
		"short": func(id fmt.Stringer) string { return id.String()[:12] },
	}).Parse(pagesText))
})

// An indexView is what the page of all releases says.
type indexView struct {
	Releases  []releaseRow // the newest first
	Artifacts int          // of all releases
	Size      int64        // of them, in bytes
}

type releaseRow struct {
	Name   string
	Pushed time.Time
}

// A releaseView is what the page of a release says.
type releaseView struct {
	Release
	Pushed time.Time
	Signer string
	Size   int64 // in bytes
	Rows   []itemRow
}

// An itemRow is one artifact. What is not known of it is zero.
type itemRow struct {
	Item
	Size      int64
	Statement *store.Statement
	Signers   []string
	Published []string // paths
}

// writeReleasePage makes the page of what rel is made of.
func (p *push) writeReleasePage(ctx context.Context, rel Release) error {
	known, err := p.newest(ctx)
	if err != nil {
		return err
	}
	view := releaseView{Release: rel, Pushed: time.Now()}
	if key := p.Repo.opts.Key; key != nil {
		view.Signer = key.Public().String()
	}
	for _, it := range rel.Items {
		row, err := p.itemRow(ctx, known, it)
		if err != nil {
			return err
		}
		view.Size += row.Size
		view.Rows = append(view.Rows, row)
	}
	text, err := page("release", view)
	if err != nil {
		return err
	}
	return p.to.Replace(ctx, releasePage(rel.Name), bytes.NewReader(text))
}

// updateIndexPage makes the page of all releases. Of two pushes, the last one to get here finds both.
func (p *push) updateIndexPage(ctx context.Context) error {
	return p.to.Update(ctx, indexPage, indexLimit, func([]byte) ([]byte, error) {
		known, err := p.newest(ctx)
		if err != nil {
			return nil, err
		}
		view := indexView{Artifacts: len(known.rows)}
		for _, r := range known.rows {
			view.Size += r.size
		}
		err = p.to.List(ctx, root+"release", func(f FileInfo) error {
			view.Releases = append(view.Releases, releaseRow{path.Base(f.Path), f.Time})
			return nil
		})
		if err != nil {
			return nil, err
		}
		slices.SortFunc(view.Releases, func(a, b releaseRow) int { return b.Pushed.Compare(a.Pushed) })
		return page("index", view)
	})
}

func page(template string, view any) ([]byte, error) {
	var b bytes.Buffer
	if err := pageTemplates().ExecuteTemplate(&b, template, view); err != nil {
		return nil, fmt.Errorf("make page: %w", err)
	}
	return b.Bytes(), nil
}

// itemRow returns what there is to say of an item.
func (p *push) itemRow(ctx context.Context, known *snapshot, it Item) (itemRow, error) {
	row := itemRow{Item: it}
	e := known.find(it.hint())
	row.Size = e.size
	s, err := p.bundledStatement(ctx, e)
	if err != nil {
		return row, err
	}
	if len(s.Envelopes) > 0 {
		row.Statement = &s
		for _, key := range s.Signers() {
			row.Signers = append(row.Signers, key.String())
		}
	}
	m, err := p.itemManifest(ctx, it)
	if errors.Is(err, store.ErrNotFound) {
		return row, nil
	}
	if err != nil {
		return row, err
	}
	for _, pub := range m.Publish {
		row.Published = append(row.Published, pub.Path)
	}
	return row, nil
}

func (p *push) itemManifest(ctx context.Context, it Item) (*store.Manifest, error) {
	if i := slices.IndexFunc(p.items, func(mine *pushItem) bool { return mine.hint() == it.hint() }); i >= 0 {
		return p.items[i].manifest, nil
	}
	return p.findManifest(ctx, it.Artifact)
}
