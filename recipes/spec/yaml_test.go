package spec

import (
	"strings"
	"testing"
)

type sampleFile struct {
	Path string `yaml:"path"`
	Size int    `yaml:"size"`
}

type sampleDocument struct {
	Name   string                 `yaml:"name"`
	Files  []sampleFile           `yaml:"files"`
	ByName map[string]*sampleFile `yaml:"by_name"`
}

func TestDecodeYAML(t *testing.T) {
	for text, want := range map[string]string{
		"nmae: x":              `f.yaml:1:1: unknown field "nmae" (did you mean "name"?)`,
		"files:\n- pth: /":     `f.yaml:2:3: unknown field "pth" (did you mean "path"?)`,
		"by_name: {a: {b: 1}}": `f.yaml:1:15: unknown field "b" (known: path, size)`,
		"files: x":             "f.yaml:1:8: want a list, not text",
		"files: [x]":           "f.yaml:1:9: want keys with values, not text",
		"name: [x]":            "f.yaml:1:7: want text, not a list",
		"files: [{size: big}]": `f.yaml:1:16: want a number, not "big"`,
		"name: x\nname: y":     `f.yaml:2:1: mapping key "name" already defined at [1:1]`,
		"name: [":              "f.yaml:1:",
	} {
		var d sampleDocument
		if err := DecodeYAML("f.yaml", []byte(text), &d); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	var d sampleDocument
	if err := DecodeYAML("f.yaml", []byte("name: x\nfiles: [{path: /, size: 1}]\nby_name: {}"), &d); err != nil || d.Name != "x" || len(d.Files) != 1 {
		t.Errorf("got %+v, %v", d, err)
	}
}

func FuzzDecodeYAML(f *testing.F) {
	f.Add("nmae: x")
	f.Add("files:\n- pth: /\n")
	f.Add("by_name: {a: &a {b: 1}, c: *a}")
	f.Add("files: !tag")
	f.Fuzz(func(t *testing.T, text string) {
		var d sampleDocument
		if err := DecodeYAML("f.yaml", []byte(text), &d); err != nil && !strings.HasPrefix(err.Error(), "f.yaml:") {
			t.Errorf("%q: %v", text, err)
		}
	})
}
