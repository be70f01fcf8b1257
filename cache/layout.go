package cache

import (
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/opencontainers/go-digest"

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
func historyPath(sha256 string) string        { return root + "history/" + sha256 }
func indexPath(file string) string            { return root + "index/" + file }
func contentPath(id store.ArtifactID) string  { return root + "content/" + id.String() }
func blobPath(b store.Blob) string            { return root + "blob/" + b.Digest.Encoded() }
func cutsPath(b store.Blob) string            { return root + "cuts/" + b.Digest.Encoded() }
func chunkPath(d digest.Digest) string        { return root + "chunk/" + d.Encoded() }
func statementPath(h hint) string {
	return root + "realisation/" + h.drv.String() + "/" + h.artifact.String()
}

// The largest files that are read whole, in bytes. Manifests have [store.ManifestLimit].
const (
	pointerLimit    = 64 << 10
	generationLimit = 1 << 30   // 7 million rows
	contentLimit    = 256 << 20 // 3 million chunks
	derivationLimit = 16 << 20
	releaseLimit    = 256 << 20
	indexLimit      = 64 << 20
	envelopeLimit   = 64 << 20
	keyLimit        = 1 << 20
)

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
	if first, _, _ := strings.Cut(name, "/"); first == "cache" || first == pagesDir || first == indexPage {
		return fmt.Errorf("published path %q: rpc-repo keeps %s for itself", name, first)
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
