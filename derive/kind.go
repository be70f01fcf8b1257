package derive

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/rcbops/rpcbuild/store"
)

// A Kind is one way to build. All kinds are in one list that the program passes to [Engine] and
// to [RunBuild].
type Kind struct {
	// Name is what derivations call it, Version what it makes: a new version rebuilds everything
	// of the kind.
	Name, Version string
	// Sandbox says that the build runs programs, in a sandbox, and so needs root and LXC.
	Sandbox bool
	// Network says that the build reads from outside what its params pin by content, such as the
	// commits of a git repository.
	Network bool
	// Build makes the output. It runs in a process of its own, and may leave behind only what is
	// in b.Output.
	Build func(ctx context.Context, b *Build) error
}

// A Build is what a builder is given. Paths are absolute.
type Build struct {
	Name   string // the node's, for messages
	Drv    *Derivation
	Source json.RawMessage // the node's Source
	// Output is an empty folder: what is in it when Build returns is the artifact.
	Output string
	// Scratch is an empty folder on the same file system; it is removed afterwards.
	Scratch string
	// Log takes what the build has to say.
	Log io.Writer

	inputs   string
	manifest store.Manifest // what is said of publication
}

// Params decodes the derivation's parameters into v, a pointer to what the node's Params was.
func (b *Build) Params(v any) error {
	dec := json.NewDecoder(bytes.NewReader(b.Drv.Params))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return fmt.Errorf("decode params of %s: %w", b.Name, err)
	}
	return nil
}

// Input returns the folder of an input: its files, or, where the node asked to unpack it, the
// unpacked tree. Neither may be written to. It panics if the derivation has no such input.
func (b *Build) Input(name string) string {
	if _, ok := b.Drv.Inputs[name]; !ok {
		panic(fmt.Sprintf("build of kind %s: no input %q", b.Drv.Kind, name))
	}
	return filepath.Join(b.inputs, filepath.FromSlash(name))
}

// InputFile returns the path of the one file of an input that holds just one, such as a fetch.
func (b *Build) InputFile(name string) (string, error) {
	dir := b.Input(name)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", fmt.Errorf("input %s: %w", name, err)
	}
	if len(entries) != 1 {
		return "", fmt.Errorf("input %s: want one file, it has %d", name, len(entries))
	}
	return filepath.Join(dir, entries[0].Name()), nil
}

// Publish adds to what the artifact says of where it is published.
func (b *Build) Publish(p ...store.Publication) {
	b.manifest.Publish = append(b.manifest.Publish, p...)
}

// Line adds to the lines that the artifact has in shared indexes.
func (b *Build) Line(l store.Line) { b.manifest.Lines = append(b.manifest.Lines, l) }

// Logf writes a line to the log.
func (b *Build) Logf(format string, args ...any) { fmt.Fprintf(b.Log, format+"\n", args...) }
