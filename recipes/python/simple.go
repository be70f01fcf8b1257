package python

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/url"
	"path"
	"strings"

	"golang.org/x/net/html"
)

// simpleAccept asks for a project's page as JSON (PEP 691), or else as HTML (PEP 503).
const simpleAccept = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1"

// An indexFile is a file as an index lists it.
type indexFile struct {
	File        // its size may be 0 and its hash empty: not every index says
	url  string // absolute
}

// parseSimple reads the page of a project that came from base.
func parseSimple(base, contentType string, body []byte) ([]indexFile, error) {
	u, err := url.Parse(base)
	if err != nil {
		return nil, fmt.Errorf("read page of index: %w", err)
	}
	media, _, _ := mime.ParseMediaType(contentType)
	if strings.HasSuffix(media, "json") {
		return parseSimpleJSON(u, body)
	}
	return parseSimpleHTML(u, body)
}

func parseSimpleJSON(base *url.URL, body []byte) ([]indexFile, error) {
	var page struct {
		Files []struct {
			Filename string            `json:"filename"`
			URL      string            `json:"url"`
			Size     int64             `json:"size"`
			Hashes   map[string]string `json:"hashes"`
		} `json:"files"`
	}
	if err := json.Unmarshal(body, &page); err != nil {
		return nil, fmt.Errorf("read page of index: %w", err)
	}
	var files []indexFile
	for _, f := range page.Files {
		if u, err := base.Parse(f.URL); err == nil {
			files = appendFile(files, f.Filename, u, f.Hashes["sha256"], f.Size)
		}
	}
	return files, nil
}

func parseSimpleHTML(base *url.URL, body []byte) ([]indexFile, error) {
	var files []indexFile
	z := html.NewTokenizer(bytes.NewReader(body))
	for {
		switch z.Next() {
		case html.ErrorToken:
			if errors.Is(z.Err(), io.EOF) {
				return files, nil
			}
			return nil, fmt.Errorf("read page of index: %w", z.Err())
		case html.StartTagToken, html.SelfClosingTagToken:
			t := z.Token()
			u, ok := reference(base, t)
			switch {
			case !ok:
			case t.Data == "base":
				base = u
			case t.Data == "a":
				sum := strings.TrimPrefix(u.Fragment, "sha256=")
				if sum == u.Fragment {
					sum = ""
				}
				files = appendFile(files, path.Base(u.Path), u, sum, 0)
			}
		}
	}
}

// reference returns what an element refers to.
func reference(base *url.URL, t html.Token) (*url.URL, bool) {
	for _, a := range t.Attr {
		if a.Key == "href" {
			u, err := base.Parse(strings.TrimSpace(a.Val))
			return u, err == nil
		}
	}
	return nil, false
}

// appendFile leaves out what could not be in a lock.
func appendFile(files []indexFile, name string, u *url.URL, sha256 string, size int64) []indexFile {
	if !filePattern.MatchString(name) || size < 0 {
		return files
	}
	plain := *u
	plain.Fragment, plain.RawFragment = "", ""
	return append(files, indexFile{File{Name: name, Size: size, SHA256: strings.ToLower(sha256)}, plain.String()})
}
