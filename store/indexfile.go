package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"go.etcd.io/bbolt"
	bbolterrors "go.etcd.io/bbolt/errors"
	"golang.org/x/sys/unix"
)

// An IndexError says that the index cannot be used. The objects may be well: reindex makes a new
// one from them.
type IndexError struct {
	Path string
	Err  error
}

func (e *IndexError) Error() string {
	return fmt.Sprintf("index %s is damaged: %v (rpcbuild store reindex makes it anew)", e.Path, e.Err)
}

func (e *IndexError) Unwrap() error { return e.Err }

// indexWait bounds the wait for the transactions of other processes, each of which takes
// milliseconds.
const indexWait = 30 * time.Second

// createIndex makes an empty index if there is none.
func (s *Store) createIndex() error {
	name := s.path(indexName)
	if _, err := os.Stat(name); err == nil {
		return nil
	}
	dir, err := s.TempDir("index")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	tmp := filepath.Join(dir, indexName)
	if err := writeIndex(tmp, nil, nil); err != nil {
		return fmt.Errorf("make index: %w", err)
	}
	// It appears whole, because a reader cannot tell an index that is being made from a damaged one;
	// and with a link, not a rename, so that the index of a process that was faster stays.
	if err := os.Link(tmp, name); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make index: %w", err)
	}
	return syncDir(s.dir)
}

// An indexHandle opens the index for one transaction at a time. It is closed where db is nil.
type indexHandle struct {
	name string
	db   *bbolt.DB
	file *os.File
	size int64 // of the file when it was mapped
}

// open opens the index, and locks it until it is closed or unlocked.
func (h *indexHandle) open(options *bbolt.Options) (err error) {
	options.Timeout = indexWait
	options.OpenFile = func(name string, flag int, mode os.FileMode) (*os.File, error) {
		file, err := os.OpenFile(name, flag&^os.O_CREATE, mode) // see createIndex
		if err != nil {
			return nil, err
		}
		fi, err := file.Stat()
		if err == nil && fi.Size() == 0 { // bbolt would take it for a new one
			err = errors.New("it is empty")
		}
		if err != nil {
			file.Close()
			return nil, err
		}
		h.file, h.size = file, fi.Size()
		return file, nil
	}
	for {
		if h.db, err = bbolt.Open(h.name, 0o644, options); err != nil {
			return openError(h.name, err)
		}
		if isAt(h.file, h.name) {
			return nil
		}
		h.db.Close() // reindex replaced it while we waited for it
	}
}

// openToRead is open for reading. What is open and unlocked is used again, unless the file is another
// one by now or has grown: most of what a look-up costs is to map pages anew.
func (h *indexHandle) openToRead() error {
	if h.db != nil {
		locked := unix.Flock(int(h.file.Fd()), unix.LOCK_SH|unix.LOCK_NB) == nil
		fi, err := h.file.Stat()
		if locked && err == nil && fi.Size() == h.size && isAt(h.file, h.name) {
			return nil
		}
		if err := h.close(); err != nil {
			return err
		}
	}
	return h.open(&bbolt.Options{ReadOnly: true})
}

// unlock lets others write. Where the lock cannot be given up, it goes with the file.
func (h *indexHandle) unlock() {
	if err := flock(h.file, unix.LOCK_UN); err != nil {
		h.close()
	}
}

func (h *indexHandle) close() error {
	if h.db == nil {
		return nil
	}
	err := h.db.Close()
	h.db = nil
	return err
}

// use calls fn, which opens the index and has its transaction. Where bbolt panics, or reads beyond the
// end of the file, the index is damaged.
func (h *indexHandle) use(fn func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			// bbolt's own Close may wait for a mutex that the panic left, and its map keeps the file open.
			flock(h.file, unix.LOCK_UN)
			h.file.Close()
			h.db = nil
			err = &IndexError{h.name, fmt.Errorf("%v", p)}
		}
	}()
	return fn()
}

// wrap says of an error of a transaction whose it is.
func (h *indexHandle) wrap(err error) error {
	if errors.Is(err, errNoBucket) {
		return &IndexError{h.name, errNoBucket}
	}
	if err != nil {
		return fmt.Errorf("use index %s: %w", h.name, err)
	}
	return nil
}

// openError tells a damaged file from one that cannot be opened.
func openError(name string, err error) error {
	var path *os.PathError
	if errors.As(err, &path) || errors.Is(err, bbolterrors.ErrTimeout) {
		return fmt.Errorf("open index %s: %w", name, err)
	}
	return &IndexError{name, err}
}

// isAt reports whether the open file is what the name leads to.
func isAt(f *os.File, name string) bool {
	mine, err := f.Stat()
	if err != nil {
		return false
	}
	now, err := os.Stat(name)
	return err == nil && os.SameFile(mine, now)
}

// writeIndex makes an index with these rows, sorted by key, at name.
func writeIndex(name string, artifacts []artifactRow, realisations []realisationRow) error {
	db, err := bbolt.Open(name, 0o644, &bbolt.Options{NoSync: true})
	if err != nil {
		return err
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucket(artifactBucket)
		if err == nil {
			_, err = tx.CreateBucket(realisationBucket)
		}
		return err
	})
	return errors.Join(err, putRows(db, artifacts, realisations), db.Sync(), db.Close())
}

// addRows adds rows, sorted by key, to an index that is nobody else's.
func addRows(name string, artifacts []artifactRow, realisations []realisationRow) error {
	db, err := bbolt.Open(name, 0o644, &bbolt.Options{NoSync: true})
	if err != nil {
		return err
	}
	return errors.Join(putRows(db, artifacts, realisations), db.Sync(), db.Close())
}

func putRows(db *bbolt.DB, artifacts []artifactRow, realisations []realisationRow) error {
	return errors.Join(
		inBatches(db, artifacts, func(ix index, r artifactRow) error { return ix.putArtifact(r.id, r.size) }),
		inBatches(db, realisations, func(ix index, r realisationRow) error { return ix.putRealisation(r.drv, r.artifact) }))
}

// inBatches puts rows in transactions that fit into memory.
func inBatches[R any](db *bbolt.DB, rows []R, put func(index, R) error) error {
	for len(rows) > 0 {
		batch := rows[:min(len(rows), 20_000)]
		rows = rows[len(batch):]
		err := db.Update(func(tx *bbolt.Tx) error {
			ix, err := openIndex(tx)
			if err != nil {
				return err
			}
			ix.artifacts.FillPercent, ix.realisations.FillPercent = 0.9, 0.9 // they come in order
			for _, r := range batch {
				if err := put(ix, r); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
