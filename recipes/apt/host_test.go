package apt

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const (
	oneLine = `# a comment
deb [arch=amd64 signed-by=/usr/share/keyrings/x.gpg] http://third.example.org/apt cloud-sdk-bookworm main
deb cdrom:[Debian]/ bookworm main
deb-src http://deb.example.org/debian bookworm main
deb http://deb.example.org/debian bookworm main # the main one
deb http://deb.example.org/debian bookworm-updates main
deb http://deb.example.org/debian-security/ bookworm-security main
`
	deb822 = `# a comment
Types: deb
URIs: https://node.example.org/node_20.x
Suites: nodistro
Components: main

Enabled: no
Types: deb
URIs: http://off.example.org/debian
Suites: bookworm

Types: deb deb-src
# another
URIs: http://deb.example.org/debian
Suites: bookworm
 bookworm-updates
Components: main

Types: deb
URIs: http://deb.example.org/debian-security
Suites: bookworm-security
`
	ubuntu = `deb http://mirror.example.org/ubuntu/ xenial main
deb http://security.ubuntu.example.org/ xenial-security main
`
)

func TestHostArchives(t *testing.T) {
	for _, test := range []struct {
		name, file, content string
		suite, want         string
	}{
		{"one-line", "sources.list", oneLine, "trixie", "http://deb.example.org/debian"},
		{"one-line security", "sources.list", oneLine, "trixie-security", "http://deb.example.org/debian-security"},
		{"deb822", "sources.list.d/debian.sources", deb822, "trixie-updates", "http://deb.example.org/debian"},
		{"deb822 security", "sources.list.d/debian.sources", deb822, "trixie-security", "http://deb.example.org/debian-security"},
		{"ubuntu", "sources.list.d/u.list", ubuntu, "jammy", "http://mirror.example.org/ubuntu"},
		{"ubuntu security by host", "sources.list.d/u.list", ubuntu, "jammy-security", "http://security.ubuntu.example.org"},
		{"other name", "sources.list.d/u.list.bak", ubuntu, "jammy", ""},
		{"none", "sources.list", "deb http://third.example.org/apt any main\n", "trixie", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			file := filepath.Join(dir, test.file)
			if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, []byte(test.content), 0o644); err != nil {
				t.Fatal(err)
			}
			got, err := Archives(dir)(Mirror{Archive: Host, Suite: test.suite})
			if test.want == "" {
				if err == nil || !strings.Contains(err.Error(), "give the mirror a URL in its archive setting") {
					t.Fatalf("got %q, %v, want an error with a hint", got, err)
				}
				return
			}
			if err != nil || got != test.want {
				t.Errorf("got %q, %v, want %q", got, err, test.want)
			}
		})
	}
}

func TestArchiveURL(t *testing.T) {
	got, err := Archives("/nonexistent")(Mirror{Archive: "http://a.example.org/debian/"})
	if err != nil || got != "http://a.example.org/debian" {
		t.Errorf("got %q, %v", got, err)
	}
}

func FuzzSources(f *testing.F) {
	f.Add(oneLine)
	f.Add(deb822)
	f.Fuzz(func(t *testing.T, content string) {
		h, _ := parseOneLine(content)
		more, _ := parseDeb822(content)
		_, _ = append(h, more...).Find("trixie")
	})
}
