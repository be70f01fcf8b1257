package main

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
)

// source is where the tree's files come from: programs, libraries, documents and scripts as an operating
// system has them, neither random nor zeros.
const source = "/usr"

// generate copies files of source to dir, in the order of their paths, until there are so many of so
// many bytes. A file that is too large for the rest to come to that is left out. Where source is too
// small, it comes again, each file with a line at its end that makes it another.
func generate(dir, files, bytes string) error {
	wantFiles, err := strconv.Atoi(files)
	if err != nil {
		return err
	}
	wantBytes, err := strconv.ParseInt(bytes, 10, 64)
	if err != nil {
		return err
	}
	t := tree{dir: dir, files: wantFiles, bytes: wantBytes, average: wantBytes / int64(wantFiles)}
	for t.files > 0 {
		before := t.files
		if err := t.copyRound(); err != nil {
			return err
		}
		if t.files == before {
			return fmt.Errorf("%s has no files", source)
		}
		t.round++
	}
	fmt.Printf("%d files, %d bytes, %d rounds of %s\n", wantFiles, wantBytes-t.bytes, t.round, source)
	return nil
}

type tree struct {
	dir     string
	round   int
	files   int   // to come
	bytes   int64 // to come
	average int64
}

func (t *tree) copyRound() error {
	return filepath.WalkDir(source, func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		fi, err := d.Info()
		if err != nil {
			return err
		}
		// The files that are left should find the bytes they need: half an average file each.
		if fi.Size() > t.bytes-int64(t.files)*t.average/2 {
			return nil
		}
		if t.files == 0 {
			return filepath.SkipAll
		}
		t.files--
		t.bytes -= fi.Size()
		return t.copyFile(name, fi.Mode())
	})
}

func (t *tree) copyFile(name string, mode fs.FileMode) error {
	to := filepath.Join(t.dir, strconv.Itoa(t.round), name)
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	src, err := os.Open(name)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode.Perm())
	if err != nil {
		return err
	}
	defer dst.Close()
	if _, err := io.Copy(dst, src); err != nil {
		return err
	}
	if t.round > 0 {
		_, err = fmt.Fprintln(dst, "round", t.round)
	}
	return err
}
