package container

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/rcbops/rpcbuild/derive"
	"github.com/rcbops/rpcbuild/derive/sandbox"
	"github.com/rcbops/rpcbuild/store"
)

// imageParams are the params of an imageKind node.
type imageParams struct {
	Time     int64  `json:"time"` // of the release, in seconds since 1970
	Dist     string `json:"dist"`
	Codename string `json:"codename"`
	Arch     string `json:"arch"`
	Machine  string `json:"machine"` // the kernel's name of arch
	Variant  string `json:"variant"`
}

// indexFile is the list of images that LXC's download client reads.
const indexFile = "meta/1.0/index-system"

// xzOptions are those of xz. Of 40 MB of a Debian system in 4 MiB blocks, on one core: preset 2 takes
// 4.8 s and gives 11.4 MB, with the filter for x86 programs before it 4.7 s and 11.0 MB; with the filter,
// preset 1 takes 2.9 s (11.2 MB), preset 4 9.5 s (10.2 MB), preset 6 12.4 s (10.1 MB).
const xzOptions = "--check=crc64 --threads=1 --x86 --lzma2=preset=2"

// image is one build of an image.
type image struct {
	*derive.Build
	params     imageParams
	compressor string
	work       string // folder of chunks
}

// buildImage makes what a client downloads: the compressed root file system, its metadata, their
// sums, and the line in the index of images.
func buildImage(ctx context.Context, b *derive.Build) error {
	i := &image{Build: b, work: filepath.Join(b.Scratch, "chunks")}
	if err := b.Params(&i.params); err != nil {
		return err
	}
	i.compressor = fmt.Sprintf("xz %s, chroot %s", xzOptions, b.Drv.Inputs["xz"])
	if err := os.Mkdir(i.work, 0o755); err != nil {
		return err
	}
	like, known, err := i.openLike()
	if err != nil {
		return err
	}
	if like != nil {
		defer like.Close()
	}
	raw, err := os.Open(filepath.Join(b.Input("container"), derive.RootFS))
	if err != nil {
		return err
	}
	defer raw.Close()
	digests, whole, err := cut(raw, i.work, known)
	if err != nil {
		return err
	}
	buildID, err := i.writeMeta(whole)
	if err != nil {
		return err
	}
	if err := i.compress(ctx); err != nil {
		return err
	}
	return i.output(buildID, digests, &joiner{dir: i.work, like: like, known: known})
}

// openLike returns the compressed root file system of the input like and its chunks. There are none
// if there is no such input, or if another compressor made it.
func (i *image) openLike() (*os.File, map[digest.Digest]chunk, error) {
	if _, ok := i.Drv.Inputs["like"]; !ok {
		return nil, nil, nil
	}
	dir := i.Input("like")
	x, err := readChunkIndex(dir)
	if err != nil || x.Compressor != i.compressor {
		return nil, nil, err
	}
	f, err := os.Open(filepath.Join(dir, filepath.FromSlash(x.File)))
	return f, x.byRaw(), err
}

// compress makes each file of the work folder an xz stream, in one sandbox with the xz of the
// release's own packages: the machine's decides nothing.
func (i *image) compress(ctx context.Context) (err error) {
	scratch := filepath.Join(i.Scratch, "xz")
	if err := os.Mkdir(scratch, 0o755); err != nil {
		return err
	}
	s, err := sandbox.Open(scratch, i.Input("xz"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	const folder = "/run/chunks"
	err = s.Run(ctx, sandbox.Command{
		Args:  []string{"/bin/sh", "-c", fmt.Sprintf("ls | xargs -n 1 -P %d xz %s", runtime.GOMAXPROCS(0), xzOptions)},
		Dir:   folder,
		Binds: []sandbox.Bind{{Source: i.work, Target: folder, Writable: true}},
		Log:   i.Log,
	})
	if err != nil {
		return fmt.Errorf("compress: %w", err)
	}
	return nil
}

// writeMeta writes the raw metadata into the work folder and returns the image's build id: the
// release's time as other image servers write it, and a digest of the content, because an image
// that differs must have another path, also within a release.
func (i *image) writeMeta(rootfs digest.Digest) (string, error) {
	files := metaFiles(i.params)
	var all bytes.Buffer
	if err := writeMetaTar(&all, files, i.params.Time); err != nil {
		return "", err
	}
	content := digest.FromString(rootfs.Encoded() + digest.FromBytes(all.Bytes()).Encoded())
	buildID := time.Unix(i.params.Time, 0).UTC().Format("20060102_15:04") + "_" + content.Encoded()[:12]
	files = append(files, metaFile{"build_id", buildID + "\n"})
	f, err := os.Create(filepath.Join(i.work, metaTar))
	if err != nil {
		return "", err
	}
	defer f.Close()
	if err := writeMetaTar(f, files, i.params.Time); err != nil {
		return "", err
	}
	return buildID, f.Close()
}

// output puts the image together and says where it is published.
func (i *image) output(buildID string, digests []digest.Digest, j *joiner) error {
	p := i.params
	folder := path.Join("lxc-images", p.Dist, p.Codename, p.Arch, p.Variant, buildID)
	dir := filepath.Join(i.Output, filepath.FromSlash(folder))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	const rootfs, meta, sums = "rootfs.tar.xz", metaTar + ".xz", "SHA256SUMS"
	f, err := os.Create(filepath.Join(dir, rootfs))
	if err != nil {
		return err
	}
	defer f.Close()
	sum := digest.SHA256.Digester()
	j.out = io.MultiWriter(f, sum.Hash())
	x := chunkIndex{Compressor: i.compressor, File: path.Join(folder, rootfs)}
	if x.Chunks, err = j.join(digests); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	metaContent, err := os.ReadFile(filepath.Join(i.work, meta))
	if err != nil {
		return err
	}
	list := fmt.Sprintf("%s  %s\n%s  %s\n", digest.FromBytes(metaContent).Encoded(), meta, sum.Digest().Encoded(), rootfs)
	if err := errors.Join(
		os.WriteFile(filepath.Join(dir, meta), metaContent, 0o644),
		os.WriteFile(filepath.Join(dir, sums), []byte(list), 0o644),
		writeJSON(filepath.Join(i.Output, ChunksFile), x),
	); err != nil {
		return err
	}
	for _, name := range []string{rootfs, meta, sums} {
		i.Publish(store.Publication{Path: path.Join(folder, name), File: path.Join(folder, name)})
	}
	key := strings.Join([]string{p.Dist, p.Codename, p.Arch, p.Variant}, ";")
	i.Line(store.Line{File: indexFile, Key: key, Line: key + ";" + buildID + ";/" + folder + "/"})
	return nil
}
