package cache

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/rcbops/rpcbuild/store"
	"github.com/rcbops/rpcbuild/store/signature"
)

// schema is the version of the files under cache/v1 that carry one.
const schema = 1

// pointerType is the type of what the envelope cache/v1/current holds.
const pointerType = "application/vnd.rpcbuild.generation+json"

// A pointer is what cache/v1/current says: which generation is the newest. It is signed by who pushed
// it.
type pointer struct {
	Schema int `json:"schema"`
	// Sequence counts generations, so that an old pointer can be told from the newest.
	Sequence int64 `json:"sequence"`
	// Generation is the SHA-256 of the list, in hexadecimal, and Size its length in bytes.
	Generation string `json:"generation"`
	Size       int64  `json:"size"`

	signer signature.PublicKey // who signed it; zero if nobody did
}

// openPointer reads an envelope with a pointer, signed by one whom trust knows.
func openPointer(text []byte, trust *signature.Trust) (pointer, error) {
	e, err := signature.Open(pointerType, bytes.TrimSuffix(text, []byte("\n")))
	if err != nil {
		return pointer{}, fmt.Errorf("parse pointer: %w", err)
	}
	if err := trust.CheckOne(e); err != nil {
		return pointer{}, err
	}
	p, err := parsePointer(e.Payload)
	p.signer = firstSigner(e)
	return p, err
}

// firstSigner returns who signed an envelope first; zero if nobody did.
func firstSigner(e *signature.Envelope) signature.PublicKey {
	for _, s := range e.Signers() {
		return s
	}
	return signature.PublicKey{}
}

// seal returns the pointer in an envelope that key signed.
func (p pointer) seal(key *signature.Key) ([]byte, error) {
	payload, err := store.CanonicalJSON(p)
	if err != nil {
		return nil, err
	}
	e, err := signature.Seal(pointerType, payload, key)
	if err != nil {
		return nil, err
	}
	return append(e.Text, '\n'), nil
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

// noBundle says that no bundle has what a row speaks of.
const noBundle = -1

// A row is one line of a generation.
type row struct {
	hint
	size int64 // of the artifact's content, in bytes
	// statements and metadata are the bundles that hold the statement, and the manifest, derivation and
	// content list: places in the generation's list, or noBundle.
	statements, metadata int
}

func (h hint) compare(o hint) int {
	return cmp.Or(strings.Compare(h.drv.String(), o.drv.String()), strings.Compare(h.artifact.String(), o.artifact.String()))
}

// A generation is all that rpc-repo holds at one time. It is never changed.
type generation struct {
	bundles []bundleRef
	rows    []row // sorted by derivation and artifact
}

// bundleWord begins the lines of bundles, which come before the rows.
const bundleWord = "bundle "

// parseGeneration reads the text form: "bundle sha256 size" for each bundle, then, sorted, "drv artifact
// size statements metadata", where the last two are numbers of bundles from 0 on, or "-". Any other
// form is refused.
func parseGeneration(b []byte) (*generation, error) {
	g := &generation{rows: make([]row, 0, bytes.Count(b, []byte("\n")))}
	before := ""
	for n := 1; len(b) > 0; n++ {
		end := bytes.IndexByte(b, '\n')
		if end < 0 {
			return nil, fmt.Errorf("parse generation: line %d has no end", n)
		}
		line := string(b[:end])
		b = b[end+1:]
		var err error
		if rest, ok := strings.CutPrefix(line, bundleWord); ok && len(g.rows) == 0 {
			err = g.parseBundle(rest)
		} else if err = g.parseRow(line); err == nil {
			key := line[:rowKey]
			if key <= before {
				err = errors.New("not in order")
			}
			before = key
		}
		if err != nil {
			return nil, fmt.Errorf("parse generation: line %d: %w", n, err)
		}
	}
	return g, nil
}

// rowKey is the length of the part of a line that it is sorted by.
const rowKey = 64 + 1 + 64

func (g *generation) parseBundle(text string) error {
	sha256, size, _ := strings.Cut(text, " ")
	n, err := parseCount(size, bundlePacked)
	if err != nil {
		return err
	}
	ref, err := store.ParseBlob(sha256, n)
	if err != nil {
		return err
	}
	g.bundles = append(g.bundles, ref)
	return nil
}

func (g *generation) parseRow(line string) error {
	fields := strings.Split(line, " ")
	if len(fields) != 5 {
		return fmt.Errorf("%q: want a derivation, an artifact, a size and two bundles", line)
	}
	var r row
	var err error
	if r.drv, err = store.ParseDrvID(fields[0]); err != nil {
		return err
	}
	if r.artifact, err = store.ParseArtifactID(fields[1]); err != nil {
		return err
	}
	if r.size, err = parseCount(fields[2], math.MaxInt64); err != nil {
		return err
	}
	if r.statements, err = g.parsePlace(fields[3]); err != nil {
		return err
	}
	if r.metadata, err = g.parsePlace(fields[4]); err != nil {
		return err
	}
	g.rows = append(g.rows, r)
	return nil
}

func (g *generation) parsePlace(text string) (int, error) {
	if text == "-" {
		return noBundle, nil
	}
	n, err := parseCount(text, int64(len(g.bundles)-1))
	return int(n), err
}

func parseCount(text string, most int64) (int64, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 || n > most || strconv.FormatInt(n, 10) != text {
		return 0, fmt.Errorf("%q: want a plain number of at most %d", text, most)
	}
	return n, nil
}

func (g *generation) encode() []byte {
	var b bytes.Buffer
	for _, ref := range g.bundles {
		fmt.Fprintf(&b, "%s%s %d\n", bundleWord, ref.Digest.Encoded(), ref.Size)
	}
	place := func(n int) string {
		if n == noBundle {
			return "-"
		}
		return strconv.Itoa(n)
	}
	for _, r := range g.rows {
		fmt.Fprintf(&b, "%s %s %d %s %s\n", r.drv, r.artifact, r.size, place(r.statements), place(r.metadata))
	}
	return b.Bytes()
}

// of returns the rows of a derivation.
func (g *generation) of(drv store.DrvID) []row {
	from, _ := slices.BinarySearchFunc(g.rows, drv.String(), func(r row, want string) int {
		return strings.Compare(r.drv.String(), want)
	})
	to := from
	for to < len(g.rows) && g.rows[to].drv == drv {
		to++
	}
	return g.rows[from:to]
}

func (g *generation) has(h hint) bool {
	return slices.ContainsFunc(g.of(h.drv), func(r row) bool { return r.hint == h })
}

// An entry is a row with its bundles themselves; the zero bundle is none.
type entry struct {
	hint
	size                 int64
	statements, metadata bundleRef
}

// entry returns what r, a row of g, says.
func (g *generation) entry(r row) entry {
	e := entry{hint: r.hint, size: r.size}
	if r.statements != noBundle {
		e.statements = g.bundles[r.statements]
	}
	if r.metadata != noBundle {
		e.metadata = g.bundles[r.metadata]
	}
	return e
}

// find returns what g says of h, or what one has to go by who knows no more.
func (g *generation) find(h hint) entry {
	for _, r := range g.of(h.drv) {
		if r.hint == h {
			return g.entry(r)
		}
	}
	return entry{hint: h}
}

// entries returns all that g says.
func (g *generation) entries() []entry {
	list := make([]entry, len(g.rows))
	for i, r := range g.rows {
		list[i] = g.entry(r)
	}
	return list
}

// newGeneration returns the generation that says what the entries say. Each derivation and artifact may
// be named once. Bundles that nobody names are not in it.
func newGeneration(entries []entry) *generation {
	g := &generation{}
	places := map[bundleRef]int{{}: noBundle}
	place := func(ref bundleRef) int {
		n, ok := places[ref]
		if !ok {
			n = len(g.bundles)
			places[ref] = n
			g.bundles = append(g.bundles, ref)
		}
		return n
	}
	for _, e := range entries {
		g.rows = append(g.rows, row{e.hint, e.size, place(e.statements), place(e.metadata)})
	}
	slices.SortFunc(g.rows, func(a, b row) int { return a.hint.compare(b.hint) })
	return g
}
