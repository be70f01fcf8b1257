package container

import (
	"archive/tar"
	"fmt"
	"io"
	"strings"
	"time"
)

// metaTar is the raw name of an image's metadata.
const metaTar = "meta.tar"

// metaFile is one file of an image's metadata, which tells LXC's download client how to make a
// container of it. Words such as LXC_NAME are the client's to replace.
type metaFile struct{ name, content string }

// metaFiles returns the metadata but its build id.
func metaFiles(p imageParams) []metaFile {
	const include = "lxc.include = LXC_TEMPLATE_CONFIG/"
	common := include + "common.conf\n"
	arch := "lxc.arch = " + p.Machine + "\n"
	return []metaFile{
		{"config", common + arch},
		{"config-user", common + include + "userns.conf\n" + arch},
		{"create-message", fmt.Sprintf("You just created a %s %s %s container of %s.\n", p.Dist, p.Codename, p.Arch, p.Variant)},
		{"excludes-user", "dev/*\n"}, // an unprivileged user cannot make devices
		// A client looks for another build of an image only when its own has expired. This one has,
		// when it is made: then the client compares build ids each time, and downloads what changed.
		{"expiry", fmt.Sprintf("%d\n", p.Time)},
		{"templates", templates()},
	}
}

// templates lists the files of the container that the client replaces words in.
func templates() string {
	var b strings.Builder
	for _, f := range lxcFiles() {
		b.WriteString(strings.TrimPrefix(f.Path, "/") + "\n")
	}
	return b.String()
}

// writeMetaTar writes the files as a tar, always the same for the same files.
func writeMetaTar(w io.Writer, files []metaFile, mtime int64) error {
	t := tar.NewWriter(w)
	for _, f := range files {
		h := &tar.Header{
			Format: tar.FormatUSTAR, Typeflag: tar.TypeReg, Name: f.name, Mode: 0o644,
			Size: int64(len(f.content)), ModTime: time.Unix(mtime, 0),
		}
		if err := t.WriteHeader(h); err != nil {
			return fmt.Errorf("write metadata: %s: %w", f.name, err)
		}
		if _, err := io.WriteString(t, f.content); err != nil {
			return fmt.Errorf("write metadata: %s: %w", f.name, err)
		}
	}
	return t.Close()
}
