package recipes

import (
	"errors"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"github.com/rcbops/rpcbuild/recipes/spec"
)

// locate gives a [*spec.Error] the place of its field in the file, or of the nearest field around it
// that is there.
func locate(file string, content []byte, err error) error {
	var s *spec.Error
	if !errors.As(err, &s) {
		return &spec.FileError{File: file, Msg: err.Error()}
	}
	e := &spec.FileError{File: file, Msg: s.Msg, Hint: s.Hint}
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
