package cache

import (
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/rcbops/rpcbuild/store"
)

// The files of rpc-repo that are not a consumer's, under the web root.
const (
	root        = "cache/v1/"
	currentPath = root + "current"
	lockPath    = root + ".lock" // names with a dot are not served
	tempDir     = root + ".tmp"

	// KeyPath is where the public keys of apt's signatures are published, armored.
	KeyPath = "apt-mirror/rpcbuild.asc"
)

func generationPath(id string) string         { return root + "generation/" + id }
func manifestPath(id store.ArtifactID) string { return root + "artifact/" + id.String() }
func derivationPath(drv store.DrvID) string   { return root + "derivation/" + drv.String() }
func releasePath(name string) string          { return root + "release/" + name }
func indexPath(file string) string            { return root + "index/" + file }
func rawPath(b store.Blob) string             { return root + "blob/" + b.Digest.Encoded() }
func packedPath(b store.Blob) string          { return rawPath(b) + ".zst" }
func statementPath(h hint) string {
	return root + "realisation/" + h.drv.String() + "/" + h.artifact.String()
}

// The largest files that are read whole, in bytes. Manifests have [store.ManifestLimit].
const (
	pointerLimit    = 4 << 10
	generationLimit = 1 << 30 // 7 million lines
	statementLimit  = 64 << 10
	derivationLimit = 16 << 20
	releaseLimit    = 256 << 20
	indexLimit      = 64 << 20
	envelopeLimit   = 64 << 20
	keyLimit        = 1 << 20
)

// packLimit is the size in bytes from which content is worth compressing: below it, a file takes
// one block of the disk and one packet of the network anyway.
const packLimit = 16 << 10

// packedNames end the names of files that are compressed already.
var packedNames = []string{
	".7z", ".bz2", ".deb", ".gz", ".jar", ".jpg", ".lz4", ".png", ".tgz", ".udeb", ".whl", ".xz", ".zip", ".zst",
}

// packed reports whether the content of an artifact's file is kept compressed. It follows from the
// manifest alone, so that a reader need not ask: content that is large, is not published at a
// consumer's path, and does not look compressed already.
//
// Another artifact may publish the same content, or call it otherwise; then it is kept the other
// way, and a reader that does not find one form asks for the other.
func packed(m *store.Manifest, e store.Entry) bool {
	if e.Size < packLimit {
		return false
	}
	for _, p := range m.Publish {
		if p.File == e.Path {
			return false
		}
	}
	for _, suffix := range packedNames {
		if strings.HasSuffix(e.Path, suffix) {
			return false
		}
	}
	return true
}

// checkPublished refuses names under the web root that are not a consumer's to have.
func checkPublished(name string) error {
	if !fs.ValidPath(name) || name == "." {
		return fmt.Errorf("published path %q: want a clean relative path", name)
	}
	for elem := range strings.SplitSeq(name, "/") {
		if strings.HasPrefix(elem, ".") {
			return fmt.Errorf("published path %q: a name with a dot in front is not served", name)
		}
	}
	if name == "cache" || strings.HasPrefix(name, "cache/") {
		return fmt.Errorf("published path %q: rpc-repo keeps cache/ for itself", name)
	}
	return nil
}

// checkRelease refuses names of releases that are not one plain element of a path.
func checkRelease(name string) error {
	if !fs.ValidPath(name) || strings.Contains(name, "/") || strings.HasPrefix(name, ".") {
		return fmt.Errorf("release name %q: want a plain name such as r33.0.0", name)
	}
	return nil
}

// relative returns what a symbolic link at name holds to lead to target, both under the web root.
func relative(name, target string) string {
	from := strings.Split(path.Dir(name), "/")
	to := strings.Split(target, "/")
	if from[0] == "." {
		from = nil
	}
	for len(from) > 0 && len(to) > 1 && from[0] == to[0] {
		from, to = from[1:], to[1:]
	}
	return strings.Repeat("../", len(from)) + strings.Join(to, "/")
}
