package spec

import (
	"fmt"

	"github.com/goccy/go-yaml"
)

// DecodeYAML reads a YAML document into v, a pointer, and refuses keys that v does not have. The
// error is a [yaml.Error] where the place is known.
func DecodeYAML(content []byte, v any) (err error) {
	// goccy/go-yaml 1.19 panics on some documents, such as a tag in front of a list that is none
	// ("repo: !tag"), which our fuzzing found.
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("it is not YAML that can be read (%v)", p)
		}
	}()
	return yaml.UnmarshalWithOptions(content, v, yaml.Strict())
}
