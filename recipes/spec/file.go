package spec

import (
	"bytes"
	"fmt"
)

// A FileError is a file, or an argument, of the user's that cannot be used: what, where, why, and
// what may help.
type FileError struct {
	File         string
	Line, Column int // 0 where they are not known
	Msg          string
	Hint         string
}

func (e *FileError) Error() string {
	s := e.File
	if e.Line > 0 {
		s += fmt.Sprintf(":%d:%d", e.Line, e.Column)
	}
	s += ": " + e.Msg
	if e.Hint != "" {
		s += " (" + e.Hint + ")"
	}
	return s
}

// At places the error before the byte of content at offset.
func (e *FileError) At(content []byte, offset int64) {
	before := content[:min(max(offset, 0), int64(len(content)))]
	e.Line = 1 + bytes.Count(before, []byte("\n"))
	e.Column = len(before) - bytes.LastIndexByte(before, '\n')
}
