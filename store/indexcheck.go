package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// indexRows are all rows of an index, sorted by key.
type indexRows struct {
	artifacts    []artifactRow
	realisations []realisationRow
}

// snapshotIndex reads the whole index at one moment and checks every page that is in use. It does not
// use bbolt, whose own check may read beyond the end of a damaged file in a goroutine that
// nobody can recover.
func (s *Store) snapshotIndex() (*indexRows, error) {
	name := s.path(indexName)
	f, err := s.lockIndex(unix.LOCK_SH)
	if err != nil {
		return nil, fmt.Errorf("read index: %w", err)
	}
	file, err := io.ReadAll(f)
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("read index: %w", err)
	}
	rows, err := parseIndex(file)
	if err != nil {
		return nil, &IndexError{name, err}
	}
	return rows, nil
}

// lockIndex opens the index file, whatever is in it, and locks it as bbolt does.
func (s *Store) lockIndex(how int) (*os.File, error) {
	for {
		f, err := os.Open(s.path(indexName))
		if err != nil {
			return nil, err
		}
		if err := flock(f, how); err != nil {
			return nil, errors.Join(err, f.Close())
		}
		if isAt(f, f.Name()) {
			return f, nil
		}
		f.Close()
	}
}

// bbolt's format: pages, each with a header of id, flags, number of elements, and number of further
// pages that it goes over. The first two are meta pages, of which the one with the higher
// transaction counts.
const (
	pageHeader  = 16
	branchPage  = 0x01
	leafPage    = 0x02
	freePage    = 0x10
	bucketEntry = 0x01
	noFreelist  = ^uint64(0)
)

type indexFile struct {
	file     []byte
	pageSize uint64
	pages    uint64 // that are in use or free
	seen     map[uint64]bool
}

// parseIndex checks the file of an index and returns its rows.
func parseIndex(file []byte) (*indexRows, error) {
	x := &indexFile{file: file, seen: map[uint64]bool{0: true, 1: true}}
	root, freelist, err := x.meta()
	if err != nil {
		return nil, err
	}
	rows, buckets := &indexRows{}, 0
	err = x.walk(root, func(flags uint32, key, value []byte) error {
		put := rows.putArtifact
		switch {
		case flags != bucketEntry || len(value) < 16:
			return fmt.Errorf("%q is no bucket", key)
		case bytes.Equal(key, realisationBucket):
			put = rows.putRealisation
		case !bytes.Equal(key, artifactBucket):
			return fmt.Errorf("unknown bucket %q", key)
		}
		buckets++
		if page := binary.LittleEndian.Uint64(value); page != 0 {
			return x.walk(page, put)
		}
		return x.elements(value[16:], put)
	})
	if err == nil && buckets != 2 {
		err = errNoBucket
	}
	if err == nil {
		err = x.free(freelist)
	}
	return rows, err
}

func (r *indexRows) putArtifact(flags uint32, key, value []byte) error {
	if flags != 0 || len(key) != 32 || len(value) != 8 {
		return fmt.Errorf("artifact row %x: want an id and a size", key)
	}
	r.artifacts = append(r.artifacts, artifactRow{ArtifactID{id{[32]byte(key)}}, int64(binary.BigEndian.Uint64(value))})
	return nil
}

func (r *indexRows) putRealisation(flags uint32, key, value []byte) error {
	if flags != 0 || len(key) != 32 || len(value) == 0 || len(value)%32 != 0 {
		return fmt.Errorf("realisation row %x: want ids", key)
	}
	for ; len(value) > 0; value = value[32:] {
		r.realisations = append(r.realisations, realisationRow{drv: DrvID{id{[32]byte(key)}}, artifact: ArtifactID{id{[32]byte(value[:32])}}})
	}
	return nil
}

// meta checks both meta pages, and returns the root and the list of free pages of the newer.
func (x *indexFile) meta() (root, freelist uint64, err error) {
	if len(x.file) < 2*4096 {
		return 0, 0, errors.New("it is cut short")
	}
	x.pageSize = uint64(binary.LittleEndian.Uint32(x.file[pageHeader+8:]))
	if x.pageSize < 1024 || x.pageSize > 1<<16 || uint64(len(x.file)) < 2*x.pageSize {
		return 0, 0, fmt.Errorf("meta page 0: page size %d", x.pageSize)
	}
	newest := uint64(0)
	for n := range uint64(2) {
		m := x.file[n*x.pageSize+pageHeader:][:64]
		h := fnv.New64a()
		h.Write(m[:56])
		if h.Sum64() != binary.LittleEndian.Uint64(m[56:]) {
			return 0, 0, fmt.Errorf("meta page %d: wrong checksum", n)
		}
		if tx := binary.LittleEndian.Uint64(m[48:]); tx >= newest {
			newest = tx
			root, freelist = binary.LittleEndian.Uint64(m[16:]), binary.LittleEndian.Uint64(m[32:])
			x.pages = binary.LittleEndian.Uint64(m[40:])
		}
	}
	if x.pages > uint64(len(x.file))/x.pageSize {
		return 0, 0, errors.New("it is cut short")
	}
	return root, freelist, nil
}

// page returns a page that nothing has led to yet, with those that it goes over.
func (x *indexFile) page(n uint64) ([]byte, error) {
	if n < 2 || n >= x.pages {
		return nil, fmt.Errorf("page %d: there is none", n)
	}
	p := x.file[n*x.pageSize:]
	over := uint64(binary.LittleEndian.Uint32(p[12:]))
	if binary.LittleEndian.Uint64(p) != n || over >= x.pages-n {
		return nil, fmt.Errorf("page %d: wrong header", n)
	}
	for i := n; i <= n+over; i++ {
		if x.seen[i] {
			return nil, fmt.Errorf("page %d: used twice", i)
		}
		x.seen[i] = true
	}
	return p[:(over+1)*x.pageSize], nil
}

// walk calls fn for the elements of all leaves below a page, in order.
func (x *indexFile) walk(n uint64, fn func(flags uint32, key, value []byte) error) error {
	p, err := x.page(n)
	if err != nil {
		return err
	}
	if binary.LittleEndian.Uint16(p[8:]) != branchPage {
		if err := x.elements(p, fn); err != nil {
			return fmt.Errorf("page %d: %w", n, err)
		}
		return nil
	}
	var last []byte // key that was seen
	for i := range int(binary.LittleEndian.Uint16(p[10:])) {
		at := pageHeader + 16*i
		if at+16 > len(p) {
			return fmt.Errorf("page %d: too many elements", n)
		}
		e := p[at:]
		key, ok := cut(e, binary.LittleEndian.Uint32(e), binary.LittleEndian.Uint32(e[4:]))
		if !ok || i > 0 && bytes.Compare(last, key) >= 0 {
			return fmt.Errorf("page %d: wrong key", n)
		}
		last = key
		err := x.walk(binary.LittleEndian.Uint64(e[8:]), func(flags uint32, k, v []byte) error {
			if bytes.Compare(k, last) < 0 {
				return fmt.Errorf("key %x is not where it is looked for", k)
			}
			last = k
			return fn(flags, k, v)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// elements calls fn for the elements of a leaf.
func (x *indexFile) elements(p []byte, fn func(flags uint32, key, value []byte) error) error {
	if len(p) < pageHeader || binary.LittleEndian.Uint16(p[8:]) != leafPage {
		return errors.New("no leaf")
	}
	var last []byte
	for i := range int(binary.LittleEndian.Uint16(p[10:])) {
		at := pageHeader + 16*i
		if at+16 > len(p) {
			return errors.New("too many elements")
		}
		e := p[at:]
		size := binary.LittleEndian.Uint32(e[8:])
		key, ok := cut(e, binary.LittleEndian.Uint32(e[4:]), size)
		value, ok2 := cut(e, binary.LittleEndian.Uint32(e[4:])+size, binary.LittleEndian.Uint32(e[12:]))
		if !ok || !ok2 || i > 0 && bytes.Compare(last, key) >= 0 {
			return fmt.Errorf("wrong key %x", key)
		}
		last = key
		if err := fn(binary.LittleEndian.Uint32(e), key, value); err != nil {
			return err
		}
	}
	return nil
}

func cut(b []byte, from, size uint32) ([]byte, bool) {
	if uint64(from)+uint64(size) > uint64(len(b)) {
		return nil, false
	}
	return b[from:][:size], true
}

// free checks that every page is either in use or in the list of free ones.
func (x *indexFile) free(list uint64) error {
	if list == noFreelist {
		return nil
	}
	p, err := x.page(list)
	if err != nil {
		return err
	}
	count, ids := uint64(binary.LittleEndian.Uint16(p[10:])), p[pageHeader:]
	if count == 0xffff {
		count, ids = binary.LittleEndian.Uint64(ids), ids[8:]
	}
	if binary.LittleEndian.Uint16(p[8:]) != freePage || count > uint64(len(ids))/8 {
		return fmt.Errorf("page %d: no list of free pages", list)
	}
	for i := range count {
		n := binary.LittleEndian.Uint64(ids[8*i:])
		if n >= x.pages || x.seen[n] {
			return fmt.Errorf("page %d: it is in use, and in the list of free ones", n)
		}
		x.seen[n] = true
	}
	for n := range x.pages {
		if !x.seen[n] {
			return fmt.Errorf("page %d: it is lost", n)
		}
	}
	return nil
}
