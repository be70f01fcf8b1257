package python

import (
	"fmt"
	"regexp"
	"strings"
)

var (
	projectPattern     = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$`)
	versionPattern     = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9.!+_-]*$`)
	filePattern        = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9.!+_-]*$`)
	separators         = regexp.MustCompile(`[-_.]+`)
	requirementPattern = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?\s*(\[[A-Za-z0-9 ,._-]*\])?\s*([<>=!~]=?=?[^;@\n]*)?(;[^\n]*)?$`)
)

// normalize returns the one form of a project's name, as indexes have it (PEP 503).
func normalize(name string) string {
	return strings.ToLower(separators.ReplaceAllString(name, "-"))
}

// A wheelName is what a wheel's file name says of it.
type wheelName struct {
	Project, Version      string
	Distribution          string // the project as the file name spells it
	Python, ABI, Platform string // tags; several are joined by dots
}

func parseWheelName(file string) (wheelName, error) {
	stem, ok := strings.CutSuffix(file, ".whl")
	parts := strings.Split(stem, "-")
	if !ok || len(parts) < 5 || len(parts) > 6 || !filePattern.MatchString(file) {
		return wheelName{}, fmt.Errorf("%q is not the name of a wheel", file)
	}
	tags := parts[len(parts)-3:]
	return wheelName{Project: normalize(parts[0]), Version: parts[1], Distribution: parts[0], Python: tags[0], ABI: tags[1], Platform: tags[2]}, nil
}

// pure reports whether the wheel holds nothing that was compiled for a platform.
func (w wheelName) pure() bool { return w.ABI == "none" && w.Platform == "any" }

// named returns the file name of a wheel that we built. Its build tag is from its content: the pool
// of wheels is one for all releases, and two that are built in different chroots may differ where
// name and version do not.
func (w wheelName) named(sum []byte) string {
	return fmt.Sprintf("%s-%s-1_%x-%s-%s-%s.whl", w.Distribution, w.Version, sum[:6], w.Python, w.ABI, w.Platform)
}

// isPureWheel reports whether file is the name of a wheel that is the same on every platform.
func isPureWheel(file string) bool {
	w, err := parseWheelName(file)
	return err == nil && w.pure()
}

// sourceSuffixes are the forms of source archives, the better one first.
func sourceSuffixes() []string { return []string{".tar.gz", ".zip"} }

// isSource reports whether file is a source archive.
func isSource(file string) bool {
	for _, suffix := range sourceSuffixes() {
		if strings.HasSuffix(file, suffix) {
			return true
		}
	}
	return false
}

// isSourceOf reports whether file is the source archive with that suffix of one version of a
// project. Old archives have their project's name in any spelling.
func isSourceOf(file, suffix, project, version string) bool {
	stem, ok := strings.CutSuffix(file, suffix)
	if !ok {
		return false
	}
	for i, c := range stem {
		if c == '-' && normalize(stem[:i]) == project && sameVersion(stem[i+1:], version) {
			return true
		}
	}
	return false
}

// sameVersion reports whether two spellings of a version are likely the same one: 1.0 and 1.0.0,
// 2.0-post1 and 2.0.post1. It decides which file is looked at, and never what a file holds.
func sameVersion(a, b string) bool { return plainVersion(a) == plainVersion(b) }

func plainVersion(v string) string {
	v = separators.ReplaceAllString(strings.TrimPrefix(strings.ToLower(v), "v"), ".")
	for {
		short, ok := strings.CutSuffix(v, ".0")
		if !ok {
			return v
		}
		v = short
	}
}
