package recipes

import (
	"errors"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"github.com/rcbops/rpcbuild/recipes/spec"
)

// syntaxError turns what the YAML library found into an error with file and line.
func syntaxError(file string, err error) error {
	e := &DefinitionError{File: file, Msg: err.Error()}
	var y yaml.Error
	if errors.As(err, &y) {
		e.Msg = y.GetMessage()
		if t := y.GetToken(); t != nil {
			e.Line, e.Column = t.Position.Line, t.Position.Column
		}
	}
	if m := unknownField.FindStringSubmatch(e.Msg); m != nil {
		e.Hint = spec.Suggest(m[1], fieldNames(reflect.TypeFor[Definition]()))
	}
	return e
}

var unknownField = regexp.MustCompile(`unknown field "([^"]+)"`)

// fieldNames returns every key that a definition may have anywhere, sorted.
func fieldNames(t reflect.Type) []string {
	var names []string
	var visit func(t reflect.Type)
	visit = func(t reflect.Type) {
		switch t.Kind() {
		case reflect.Map, reflect.Slice, reflect.Pointer:
			visit(t.Elem())
		case reflect.Struct:
			for i := range t.NumField() {
				if name, _, _ := strings.Cut(t.Field(i).Tag.Get("yaml"), ","); name != "" && name != "-" {
					names = append(names, name)
					visit(t.Field(i).Type)
				}
			}
		}
	}
	visit(t)
	slices.Sort(names)
	return slices.Compact(names)
}

// locate gives a [*spec.Error] the place of its field in the file, or of the nearest field around it
// that is there.
func locate(file string, content []byte, err error) error {
	var s *spec.Error
	if !errors.As(err, &s) {
		return &DefinitionError{File: file, Msg: err.Error()}
	}
	e := &DefinitionError{File: file, Msg: s.Msg, Hint: s.Hint}
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
