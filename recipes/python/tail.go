package python

import (
	"io"
	"regexp"
	"strings"
)

// tailSize is how much of a program's output is looked at for what went wrong, in bytes.
const tailSize = 16 << 10

// A tail passes on what is written, and keeps the end of it.
type tail struct {
	w   io.Writer
	end []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.end = append(t.end, p...)
	if extra := len(t.end) - tailSize; extra > 0 {
		t.end = t.end[extra:]
	}
	return t.w.Write(p)
}

var (
	missingPattern = regexp.MustCompile(`Some build dependencies for .* are missing: (.*)\.`)
	networkPattern = regexp.MustCompile(`(?i)name resolution|name or service not known|network is unreachable|failed to establish a new connection`)
	checkPattern   = regexp.MustCompile(`(?m)^(\S+ \S+ (?:has requirement|requires) .+)$`)
	pipPattern     = regexp.MustCompile(`(?m)^\s*(?:ERROR: |error: )(.+)$`)
)

// cause returns what the output of a build says of its failure, for people, or "".
func (t *tail) cause() string {
	if m := missingPattern.FindSubmatch(t.end); m != nil {
		return "it needs " + strings.ReplaceAll(string(m[1]), "'", "") + " to build, which the lock does not give it (resolve it again)"
	}
	if networkPattern.Match(t.end) {
		return "it wanted the network, which builds do not have (take upstream's wheel by listing it under binary)"
	}
	if m := checkPattern.FindSubmatch(t.end); m != nil {
		return string(m[1])
	}
	return t.pipErrors()
}

// pipErrors returns the lines in which pip says what went wrong.
func (t *tail) pipErrors() string {
	var lines []string
	for _, m := range pipPattern.FindAllSubmatch(t.end, -1) {
		lines = append(lines, strings.TrimSpace(string(m[1])))
	}
	return strings.Join(lines, "; ")
}
