// Package storetest looks at a store's folder from outside, and says whether what README.md of package
// store promises is true there. It uses nothing of the store that would hide damage: it reads the files
// and the index themselves.
package storetest

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"go.etcd.io/bbolt"

	"github.com/rcbops/rpcbuild/store"
)

// Audit reads every file of the store in dir, which no process may be using, and returns all that is not
// as it must be at any time, after whatever crash: content is what its name says, what the index names
// is whole, and the index itself is sound.
func Audit(dir string) error {
	a := &audit{dir: dir}
	a.files("blob", a.blob)
	a.files("artifact", a.manifest)
	a.files("derivation", a.derivation)
	a.files("realisation", a.statement)
	a.index()
	return errors.Join(a.wrong...)
}

// Left returns the temporary files of the store in dir. After it was opened and closed there are none.
func Left(dir string) ([]string, error) {
	return filepath.Glob(filepath.Join(dir, "tmp", "*"))
}

type audit struct {
	dir   string
	wrong []error
}

func (a *audit) report(format string, args ...any) {
	a.wrong = append(a.wrong, fmt.Errorf(format, args...))
}

// files looks at every file below a folder of the store; look is given its path, and that below the
// folder without the slashes.
func (a *audit) files(folder string, look func(path, name string) error) {
	root := filepath.Join(a.dir, folder)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		fi, err := d.Info()
		if err != nil {
			return err
		}
		if !fi.Mode().IsRegular() || fi.Mode().Perm()&0o222 != 0 {
			a.report("%s: its mode is %v", path, fi.Mode())
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if err := look(path, strings.ReplaceAll(rel, string(filepath.Separator), "")); err != nil {
			a.report("%s: %v", path, err)
		}
		return nil
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		a.report("read %s: %v", root, err)
	}
}

func (a *audit) blob(path, name string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	h := digest.SHA256.Digester()
	if _, err := io.Copy(h.Hash(), f); err != nil {
		return err
	}
	if got := h.Digest().Encoded(); got != name {
		return fmt.Errorf("its SHA-256 is %s", got)
	}
	return nil
}

func (a *audit) manifest(path, name string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if got := store.HashArtifact(b).String(); got != name {
		return fmt.Errorf("its hash is %s", got)
	}
	_, err = store.DecodeManifest(b)
	return err
}

func (a *audit) derivation(path, name string) error {
	b, err := os.ReadFile(path)
	if got := store.HashDrv(b).String(); err == nil && got != name {
		return fmt.Errorf("its hash is %s", got)
	}
	return err
}

func (a *audit) statement(path, name string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	const sum = 64 + 1 // the last line, of all before it
	if len(b) < sum || digest.FromBytes(b[:len(b)-sum]).Encoded()+"\n" != string(b[len(b)-sum:]) {
		return errors.New("its checksum is another")
	}
	s, err := store.ParseStatement(b[:len(b)-sum])
	if err == nil && s.Drv.String()+s.Artifact.String() != name {
		return fmt.Errorf("it is of derivation %s and artifact %s", s.Drv, s.Artifact)
	}
	return err
}

func (a *audit) index() {
	name := filepath.Join(a.dir, "index.db")
	if _, err := os.Stat(name); errors.Is(err, fs.ErrNotExist) {
		return
	}
	db, err := bbolt.Open(name, 0o644, &bbolt.Options{ReadOnly: true, Timeout: 10 * time.Second})
	if err != nil {
		a.report("open %s: %v", name, err)
		return
	}
	defer db.Close()
	err = db.View(func(tx *bbolt.Tx) error {
		for err := range tx.Check() {
			a.report("%s: %v", name, err)
		}
		for bucket, look := range map[string]func(k, v []byte) error{"artifact": a.artifactRow, "realisation": a.realisationRow} {
			b := tx.Bucket([]byte(bucket))
			if b == nil {
				return fmt.Errorf("it has no bucket %s", bucket)
			}
			err := b.ForEach(func(k, v []byte) error {
				if err := look(k, v); err != nil {
					a.report("index, %s %x: %v", bucket, k, err)
				}
				return nil
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		a.report("%s: %v", name, err)
	}
}

// artifactRow finds all of an artifact. Whether its files have the content that their names say was
// seen before.
func (a *audit) artifactRow(k, v []byte) error {
	id := hex.EncodeToString(k)
	b, err := os.ReadFile(filepath.Join(a.dir, "artifact", id[:2], id[2:]))
	if err != nil {
		return err
	}
	m, err := store.DecodeManifest(b)
	if err != nil {
		return err
	}
	if len(v) < 8 || int64(binary.BigEndian.Uint64(v)) != m.Size() {
		a.report("index, artifact %s: its row is %x and its size %d", id, v, m.Size())
	}
	for _, e := range m.Entries {
		if !e.HasContent() {
			continue
		}
		name := e.Digest.Encoded()
		fi, err := os.Stat(filepath.Join(a.dir, "blob", name[:2], name[2:]))
		if err != nil {
			return err
		}
		if fi.Size() != e.Size {
			return fmt.Errorf("%s: %d bytes, want %d", e.Path, fi.Size(), e.Size)
		}
	}
	return nil
}

func (a *audit) realisationRow(k, v []byte) error {
	if len(v) == 0 || len(v)%32 != 0 {
		return fmt.Errorf("its row has %d bytes", len(v))
	}
	for ; len(v) > 0; v = v[32:] {
		if _, err := os.Stat(filepath.Join(a.dir, "realisation", hex.EncodeToString(k), hex.EncodeToString(v[:32]))); err != nil {
			return err
		}
	}
	return nil
}
