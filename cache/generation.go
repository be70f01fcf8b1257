package cache

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/rcbops/rpcbuild/store"
)

// schema is the version of the files under cache/v1 that carry one.
const schema = 1

// A pointer is cache/v1/current: which generation is the newest.
type pointer struct {
	Schema int `json:"schema"`
	// Sequence counts generations, so that an old pointer can be told from the newest.
	Sequence int64 `json:"sequence"`
	// Generation is the SHA-256 of the list, in hexadecimal, and Size its length in bytes.
	Generation string `json:"generation"`
	Size       int64  `json:"size"`
}

func parsePointer(b []byte) (pointer, error) {
	var p pointer
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&p); err != nil {
		return p, fmt.Errorf("parse pointer: %w", err)
	}
	switch {
	case p.Schema != schema:
		return p, fmt.Errorf("parse pointer: schema %d, this rpcbuild knows %d", p.Schema, schema)
	case digest.NewDigestFromEncoded(digest.SHA256, p.Generation).Validate() != nil:
		return p, fmt.Errorf("parse pointer: generation %q is not a SHA-256", p.Generation)
	case p.Sequence < 1 || p.Size < 0 || p.Size > generationLimit:
		return p, fmt.Errorf("parse pointer: sequence %d or size %d is out of range", p.Sequence, p.Size)
	}
	return p, nil
}

// A hint is what a generation says: the derivation gave the artifact. The statement decides.
type hint struct {
	drv      store.DrvID
	artifact store.ArtifactID
}

// A row is one line of a generation.
type row struct {
	hint
	size int64 // of the artifact's content, in bytes
}

func (r row) compare(o row) int {
	return cmp.Or(strings.Compare(r.drv.String(), o.drv.String()), strings.Compare(r.artifact.String(), o.artifact.String()))
}

// A generation is all that rpc-repo holds at one time: rows sorted by derivation and artifact. It is
// never changed.
type generation []row

// parseGeneration reads the text form: one "drv artifact size" a line, sorted. Any other form is
// refused.
func parseGeneration(b []byte) (generation, error) {
	g := make(generation, 0, bytes.Count(b, []byte("\n")))
	before := ""
	for len(b) > 0 {
		end := bytes.IndexByte(b, '\n')
		if end < 0 {
			return nil, fmt.Errorf("parse generation: line %d has no end", len(g)+1)
		}
		line := string(b[:end])
		b = b[end+1:]
		r, err := parseRow(line)
		if err != nil {
			return nil, fmt.Errorf("parse generation: line %d: %w", len(g)+1, err)
		}
		key := line[:rowKey]
		if key <= before {
			return nil, fmt.Errorf("parse generation: line %d is not in order", len(g)+1)
		}
		before = key
		g = append(g, r)
	}
	return g, nil
}

// rowKey is the length of the part of a line that it is sorted by.
const rowKey = 64 + 1 + 64

func parseRow(line string) (row, error) {
	var r row
	fields := strings.Split(line, " ")
	if len(fields) != 3 {
		return r, fmt.Errorf("%q: want a derivation, an artifact and a size", line)
	}
	var err error
	if r.drv, err = store.ParseDrvID(fields[0]); err != nil {
		return r, err
	}
	if r.artifact, err = store.ParseArtifactID(fields[1]); err != nil {
		return r, err
	}
	r.size, err = strconv.ParseInt(fields[2], 10, 64)
	if err != nil || r.size < 0 || strconv.FormatInt(r.size, 10) != fields[2] {
		return r, fmt.Errorf("size %q: want a plain number", fields[2])
	}
	return r, nil
}

func (g generation) encode() []byte {
	var b bytes.Buffer
	for _, r := range g {
		fmt.Fprintf(&b, "%s %s %d\n", r.drv, r.artifact, r.size)
	}
	return b.Bytes()
}

// of returns the rows of a derivation.
func (g generation) of(drv store.DrvID) []row {
	from, _ := slices.BinarySearchFunc(g, drv.String(), func(r row, want string) int {
		return strings.Compare(r.drv.String(), want)
	})
	to := from
	for to < len(g) && g[to].drv == drv {
		to++
	}
	return g[from:to]
}

func (g generation) has(h hint) bool {
	return slices.ContainsFunc(g.of(h.drv), func(r row) bool { return r.hint == h })
}

// with returns the generation that holds rows, too, in place of what it says of their derivations.
func (g generation) with(rows []row) generation {
	changed := make(map[store.DrvID]bool, len(rows))
	for _, r := range rows {
		changed[r.drv] = true
	}
	next := make(generation, 0, len(g)+len(rows))
	for _, r := range g {
		if !changed[r.drv] {
			next = append(next, r)
		}
	}
	next = append(next, rows...)
	slices.SortFunc(next, row.compare)
	return slices.CompactFunc(next, func(a, b row) bool { return a.hint == b.hint })
}
