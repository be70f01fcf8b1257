package recipes

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/rcbops/rpcbuild/recipes/spec"
)

// FuzzReadDefinition reads whatever is in a definition's file: what is wrong with it is always said with
// its place.
func FuzzReadDefinition(f *testing.F) {
	shipped, err := filepath.Glob("releases/*.yaml")
	if err != nil || len(shipped) == 0 {
		f.Fatal(shipped, err)
	}
	for _, name := range shipped {
		content, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(content)
	}
	dir := f.TempDir()
	file := definitionFile(dir, "fuzz")
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		if err := os.WriteFile(file, content, 0o644); err != nil {
			t.Fatal(err)
		}
		_, err := readDefinition(dir, "fuzz")
		var located *spec.FileError
		if err != nil && !errors.As(err, &located) {
			t.Errorf("%T: %v", err, err)
		}
	})
}
