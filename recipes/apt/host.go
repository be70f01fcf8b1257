package apt

import (
	"fmt"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/aptly-dev/aptly/deb"
)

// HostArchives are the archives that a machine's apt is configured with, in its order.
type HostArchives []HostArchive

// A HostArchive is one of them: its URL and a suite that is read from it.
type HostArchive struct{ URL, Suite string }

// ReadHostArchives reads the sources below dir, which is /etc/apt: sources.list, and the *.list and
// *.sources of sources.list.d. A folder that is not there has none.
func ReadHostArchives(dir string) (HostArchives, error) {
	var h HostArchives
	lists, err := filepath.Glob(filepath.Join(dir, "sources.list.d", "*"))
	if err != nil {
		return nil, fmt.Errorf("read apt sources: %w", err)
	}
	for _, name := range slices.Insert(lists, 0, filepath.Join(dir, "sources.list")) {
		parse := parseOneLine
		switch path.Ext(name) {
		case ".list":
		case ".sources":
			parse = parseDeb822
		default:
			continue
		}
		content, err := os.ReadFile(name)
		if os.IsNotExist(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read apt sources: %w", err)
		}
		found, err := parse(string(content))
		if err != nil {
			return nil, fmt.Errorf("read apt sources: %s: %w", name, err)
		}
		h = append(h, found...)
	}
	return h, nil
}

// parseOneLine reads "deb [options] URL suite components", a line each.
func parseOneLine(content string) (HostArchives, error) {
	var h HostArchives
	for line := range strings.Lines(content) {
		line, _, _ = strings.Cut(line, "#")
		kind, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		if kind != "deb" {
			continue
		}
		if rest = strings.TrimSpace(rest); strings.HasPrefix(rest, "[") {
			_, rest, _ = strings.Cut(rest, "]")
		}
		if f := strings.Fields(rest); len(f) >= 2 {
			h = append(h, HostArchive{URL: f[0], Suite: f[1]})
		}
	}
	return h, nil
}

// parseDeb822 reads stanzas with Types, URIs and Suites.
func parseDeb822(content string) (HostArchives, error) {
	var plain strings.Builder
	for line := range strings.Lines(content) {
		if !strings.HasPrefix(line, "#") {
			plain.WriteString(line)
		}
	}
	var h HostArchives
	r := deb.NewControlFileReader(strings.NewReader(plain.String()), false, false)
	for {
		s, err := r.ReadStanza()
		if err != nil || s == nil {
			return h, err
		}
		enabled := !slices.Contains([]string{"no", "false", "without", "off", "disable"}, strings.ToLower(s["Enabled"]))
		if !enabled || !slices.Contains(strings.Fields(s["Types"]), "deb") {
			continue
		}
		for _, u := range strings.Fields(s["Uris"]) {
			for _, suite := range strings.Fields(s["Suites"]) {
				h = append(h, HostArchive{URL: u, Suite: suite})
			}
		}
	}
}

// Find returns the URL of the archive that has the suite, whichever suites the machine itself
// reads. A distribution has one archive for its security suites and one for all others, and only
// its own archives count: those whose URL says debian or ubuntu, which are told from a third
// party's by the path's last part, such as debian or debian-security, or by the host where there
// is no path.
func (h HostArchives) Find(suite string) (string, error) {
	for _, a := range h {
		if a.distribution() && isSecurity(a.Suite) == isSecurity(suite) {
			return strings.TrimSuffix(a.URL, "/"), nil
		}
	}
	what := "archive"
	if isSecurity(suite) {
		what = "security archive"
	}
	return "", fmt.Errorf("this machine's apt is configured with no %s of a distribution", what)
}

// isSecurity knows trixie-security, and buster/updates of before 2021.
func isSecurity(suite string) bool {
	return strings.HasSuffix(suite, "-security") || strings.HasSuffix(suite, "/updates")
}

func (a HostArchive) distribution() bool {
	u, err := url.Parse(a.URL)
	if err != nil || !slices.Contains([]string{"http", "https", "file"}, u.Scheme) {
		return false
	}
	name := path.Base(path.Clean("/" + u.Path))
	if name == "/" {
		name = u.Host
	}
	parts := strings.FieldsFunc(name, func(r rune) bool { return r == '-' || r == '.' })
	return slices.Contains(parts, "debian") || slices.Contains(parts, "ubuntu")
}

// Archives returns a function that tells the URL of a mirror's archive, without a slash at its end.
// The sources of the machine, below dir, are read when the first mirror asks for [Host]. The
// function is safe for concurrent use.
func Archives(dir string) func(Mirror) (string, error) {
	read := sync.OnceValues(func() (HostArchives, error) { return ReadHostArchives(dir) })
	return func(m Mirror) (string, error) {
		if m.Archive != Host {
			return strings.TrimSuffix(m.Archive, "/"), nil
		}
		h, err := read()
		if err != nil {
			return "", err
		}
		found, err := h.Find(m.Suite)
		if err != nil {
			return "", fmt.Errorf("archive of suite %s: %w (give the mirror a URL in its archive setting)", m.Suite, err)
		}
		return found, nil
	}
}

// escapePath escapes a path for use in a URL. Versions have characters that mean something there.
func escapePath(p string) string { return (&url.URL{Path: p}).EscapedPath() }
