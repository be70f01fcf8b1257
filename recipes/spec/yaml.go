package spec

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// DecodeYAML reads a YAML document, the content of file, into v, a pointer, and refuses keys that v
// does not have. The error is a [*FileError].
func DecodeYAML(file string, content []byte, v any) (err error) {
	// goccy/go-yaml 1.19 panics on some documents, such as a tag in front of a list that is none
	// ("repo: !tag"), which our fuzzing found.
	defer func() {
		if p := recover(); p != nil {
			err = &FileError{File: file, Msg: fmt.Sprintf("it is not YAML that can be read (%v)", p)}
		}
	}()
	if err := yaml.UnmarshalWithOptions(content, v, yaml.Strict()); err != nil {
		e := explain(content, reflect.TypeOf(v), err)
		e.File = file
		return e
	}
	return nil
}

// explain says what the library found in the terms of who wrote the document, read for a value of
// the type t.
func explain(content []byte, t reflect.Type, err error) *FileError {
	var found yaml.Error
	if !errors.As(err, &found) || found.GetToken() == nil {
		return &FileError{Msg: err.Error()}
	}
	at := found.GetToken()
	e := &FileError{Line: at.Position.Line, Column: at.Position.Column, Msg: found.GetMessage()}
	var (
		unknown *yaml.UnknownFieldError
		typ     *yaml.TypeError
		node    *yaml.UnexpectedNodeTypeError
	)
	switch {
	case errors.As(err, &unknown):
		e.Msg = fmt.Sprintf("unknown field %q", at.Value)
		if doc, err := parser.ParseBytes(content, 0); err == nil && len(doc.Docs) > 0 {
			e.Hint = Suggest(at.Value, keysAround(doc.Docs[0].Body, t, at.Position))
		}
	case errors.As(err, &typ):
		e.Msg = fmt.Sprintf("want %s, not %s", typeWords(typ.DstType), shown(typ.SrcType, at))
	case errors.As(err, &node):
		e.Msg = fmt.Sprintf("want %s, not %s", nodeWords(node.Expected), nodeWords(node.Actual))
	}
	return e
}

func typeWords(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int64:
		return "a number"
	case reflect.Slice:
		return "a list"
	case reflect.Map, reflect.Struct:
		return "keys with values"
	default:
		return "text"
	}
}

// shown is a value as its writer wrote it, or what it is.
func shown(t reflect.Type, at *token.Token) string {
	if t.Kind() == reflect.Slice || t.Kind() == reflect.Map {
		return typeWords(t)
	}
	return fmt.Sprintf("%q", at.Value)
}

func nodeWords(n ast.NodeType) string {
	switch n {
	case ast.SequenceType:
		return "a list"
	case ast.MappingType, ast.MappingValueType:
		return "keys with values"
	case ast.StringType:
		return "text"
	default:
		return n.YAMLName()
	}
}

// keysAround returns the keys that may stand beside the one at a position, in a node that is read
// for a value of the type t; nothing, if the position is not in it.
func keysAround(n ast.Node, t reflect.Type, at *token.Position) []string {
	if t.Kind() == reflect.Pointer {
		return keysAround(n, t.Elem(), at)
	}
	switch n := n.(type) {
	case *ast.SequenceNode:
		for _, v := range n.Values {
			if keys := keysAround(v, elem(t), at); keys != nil {
				return keys
			}
		}
	case *ast.MappingNode:
		fields := fieldTypes(t)
		for _, v := range n.Values {
			key := v.Key.GetToken()
			if *key.Position == *at {
				return slices.Sorted(maps.Keys(fields))
			}
			value, ok := fields[key.Value]
			if !ok {
				value = elem(t)
			}
			if keys := keysAround(v.Value, value, at); keys != nil {
				return keys
			}
		}
	}
	return nil
}

// elem returns the type of what a list or a map holds; of anything else, a type without keys.
func elem(t reflect.Type) reflect.Type {
	if t.Kind() == reflect.Slice || t.Kind() == reflect.Map {
		return t.Elem()
	}
	return reflect.TypeFor[struct{}]()
}

// fieldTypes returns the types of a struct's fields, by their keys.
func fieldTypes(t reflect.Type) map[string]reflect.Type {
	types := make(map[string]reflect.Type)
	if t.Kind() == reflect.Struct {
		for f := range t.NumField() {
			if key, _, _ := strings.Cut(t.Field(f).Tag.Get("yaml"), ","); key != "" {
				types[key] = t.Field(f).Type
			}
		}
	}
	return types
}
