package spec

import (
	"fmt"
	"strings"
)

// An Error is what is wrong with one field of a definition. Whoever read the definition turns it
// into a message with the file and the line.
type Error struct {
	// Path is where, from the document's root, such as $.apt.integrated[1].
	Path string
	// Msg says what is wrong and what was expected.
	Msg string
	// Hint, if any, says what to do.
	Hint string
}

func (e *Error) Error() string {
	if e.Hint == "" {
		return e.Path + ": " + e.Msg
	}
	return fmt.Sprintf("%s: %s (%s)", e.Path, e.Msg, e.Hint)
}

// Errorf returns an [*Error] without a hint.
func Errorf(path, format string, args ...any) *Error {
	return &Error{Path: path, Msg: fmt.Sprintf(format, args...)}
}

// Unknown returns the [*Error] for a name that is none of the known ones. Its hint is the known
// name that the writer may have meant.
func Unknown(path, what, name string, known []string) *Error {
	return &Error{Path: path, Msg: fmt.Sprintf("unknown %s %q", what, name), Hint: Suggest(name, known)}
}

// Suggest returns a hint with the candidate that is most like name, or with all of them.
func Suggest(name string, candidates []string) string {
	best, cost := "", len(name)/2+1
	for _, c := range candidates {
		if d := distance(name, c); d < cost {
			best, cost = c, d
		}
	}
	switch {
	case best != "":
		return fmt.Sprintf("did you mean %q?", best)
	case len(candidates) == 0:
		return "none is defined"
	default:
		return "known: " + strings.Join(candidates, ", ")
	}
}

// distance is the number of letters to insert, remove, replace or swap with their neighbour to get
// from a to b (optimal string alignment).
func distance(a, b string) int {
	// The costs of the letters of a that were seen: all but two, all but one, all.
	before, above, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before, above, row = above, row, before
		row[0] = i + 1
		for j := range len(b) {
			replace := above[j]
			if a[i] != b[j] {
				replace++
			}
			row[j+1] = min(above[j+1]+1, row[j]+1, replace)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
	}
	return row[len(b)]
}
