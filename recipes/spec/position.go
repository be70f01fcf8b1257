package spec

import (
	"errors"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// Locate turns an [*Error], and any other, into a [*FileError] of file, whose content is a YAML
// document: at the place of its field, or of the nearest field around it that is there.
func Locate(file string, content []byte, err error) error {
	var s *Error
	if !errors.As(err, &s) {
		return &FileError{File: file, Msg: err.Error()}
	}
	e := &FileError{File: file, Msg: s.Msg, Hint: s.Hint}
	doc, parseErr := parser.ParseBytes(content, 0)
	if parseErr != nil {
		return e
	}
	for at := s.Path; at != "" && at != "$"; at = parent(at) {
		if node := find(doc, at); node != nil {
			e.Line, e.Column = node.GetToken().Position.Line, node.GetToken().Position.Column
			return e
		}
	}
	return e
}

func find(doc *ast.File, at string) ast.Node {
	path, err := yaml.PathString(at)
	if err != nil {
		return nil
	}
	node, err := path.FilterFile(doc)
	if err != nil {
		return nil
	}
	return node
}

// parent cuts the last step from a path.
func parent(at string) string { return at[:max(0, strings.LastIndexAny(at, ".["))] }
