package recipes

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"github.com/rcbops/rpcbuild/recipes/apt"
	"github.com/rcbops/rpcbuild/recipes/git"
	"github.com/rcbops/rpcbuild/recipes/python"
	"github.com/rcbops/rpcbuild/recipes/spec"
)

// lockSchema is the version of the lock's format.
const lockSchema = 1

// A Lock is what upstreams answered when the release was resolved. With its definition it decides
// every artifact. It is JSON with a line an entry, to be reviewed like code.
type Lock struct {
	Schema  int    `json:"schema"`
	Release string `json:"release"`
	// Time is the release's one timestamp, UTC, in whole seconds. It stays when parts of the lock
	// move, so that only what they hold is built again.
	Time time.Time `json:"time"`
	// SigningKey is the armored public key that signs the release's apt repositories.
	SigningKey string    `json:"signing_key"`
	Apt        *apt.Lock `json:"apt"`
	// Stages that the definition does not have are absent.
	Git    *git.Lock    `json:"git,omitempty"`
	Python *python.Lock `json:"python,omitempty"`
}

// Encode returns the lock's file: canonical but for white space, one line an entry.
func (l *Lock) Encode() ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", " ")
	if err := enc.Encode(l); err != nil {
		return nil, fmt.Errorf("encode lock: %w", err)
	}
	return flatObject.ReplaceAllFunc(b.Bytes(), func(object []byte) []byte {
		return between.ReplaceAll(object, []byte(" "))
	}), nil
}

// An object without objects or lists in it goes on one line, so that a package that moved is one
// line of a diff.
var (
	flatObject = regexp.MustCompile(`\{\n(?: +"[^"\n]*": (?:"(?:[^"\\\n]|\\.)*"|[-0-9.a-z]+),?\n)+ *\}`)
	between    = regexp.MustCompile(`\n *`)
)

// DecodeLock reads a lock's file.
func DecodeLock(content []byte) (*Lock, error) {
	var version struct {
		Schema int `json:"schema"`
	}
	if err := json.Unmarshal(content, &version); err == nil && version.Schema > lockSchema { // whose fields we cannot know
		return nil, fmt.Errorf("decode lock: schema %d, this rpcbuild knows %d: use a newer rpcbuild", version.Schema, lockSchema)
	}
	dec := json.NewDecoder(bytes.NewReader(content))
	dec.DisallowUnknownFields()
	var l Lock
	if err := dec.Decode(&l); err != nil {
		return nil, fmt.Errorf("decode lock: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("decode lock: something follows its end")
	}
	if l.Schema != lockSchema {
		return nil, fmt.Errorf("decode lock: schema %d, this rpcbuild knows %d", l.Schema, lockSchema)
	}
	if l.Apt == nil {
		return nil, errors.New("decode lock: it has no apt section")
	}
	return &l, nil
}

// readLock returns the lock at file, and nil where there is none.
func readLock(file string) (*Lock, error) {
	content, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read lock: %w", err)
	}
	l, err := DecodeLock(content)
	if err != nil {
		e := &spec.FileError{File: file, Msg: err.Error(), Hint: "restore it, or remove it and make it anew with rpcbuild lock"}
		var syntax *json.SyntaxError
		var typ *json.UnmarshalTypeError
		switch {
		case errors.As(err, &syntax):
			e.At(content, syntax.Offset-1) // the offset is behind it
		case errors.As(err, &typ):
			e.At(content, typ.Offset-1)
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			e.At(content, int64(len(content)))
		}
		return nil, e
	}
	return l, nil
}

// write replaces the lock's file as a whole: a crash leaves the old one or the new one.
func (l *Lock) write(file string) error {
	content, err := l.Encode()
	if err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(file), ".lock")
	if err != nil {
		return fmt.Errorf("write lock: %w", err)
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(content)
	if err == nil {
		err = tmp.Chmod(0o644)
	}
	if err == nil {
		err = tmp.Sync()
	}
	if err := errors.Join(err, tmp.Close()); err != nil {
		return fmt.Errorf("write lock: %w", err)
	}
	if err := os.Rename(tmp.Name(), file); err != nil {
		return fmt.Errorf("write lock: %w", err)
	}
	return nil
}
