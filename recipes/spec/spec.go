// Package spec is what the definitions of all kinds share: which release they belong to, and
// errors that point at a field.
package spec

import (
	"fmt"
	"strings"
)

// A Release is what every kind knows of the release that it is a part of.
type Release struct {
	// Name is the release's, such as r33.0.0: part of the paths that clients read.
	Name string
	// Distribution is what the release is for.
	Distribution Distribution
	// URL is the web root where clients will find rpc-repo, without a slash at its end.
	URL string
	// Time is the lock's one timestamp, in seconds since 1970: SOURCE_DATE_EPOCH of every build.
	Time int64
}

// A Distribution is an operating system to build for.
type Distribution struct {
	ID       string `yaml:"id" json:"id"`             // such as debian
	Version  string `yaml:"version" json:"version"`   // such as 13
	Codename string `yaml:"codename" json:"codename"` // such as trixie
	Arch     string `yaml:"arch" json:"arch"`         // Debian's name, such as amd64
}

// Machine returns the kernel's name of the architecture, such as x86_64.
func (d Distribution) Machine() string {
	switch d.Arch {
	case "amd64":
		return "x86_64"
	case "arm64":
		return "aarch64"
	default:
		return d.Arch
	}
}

// Platform names the distribution as published paths do, such as debian-13-x86_64.
func (d Distribution) Platform() string {
	return fmt.Sprintf("%s-%s-%s", d.ID, d.Version, d.Machine())
}

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
