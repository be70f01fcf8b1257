package main

import (
	"encoding/xml"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/rcbops/rpcbuild/cache"
)

// A junit is what verify says, as the XML that CI systems read: a release is a test suite, an
// artifact a test case. encoding/xml escapes what a reason has in it, and puts U+FFFD in place of
// characters that XML cannot have.
type junit struct {
	XMLName xml.Name `xml:"testsuites"`
	junitCounts
	Suite junitSuite `xml:"testsuite"`
}

type junitSuite struct {
	Name string `xml:"name,attr"`
	junitCounts
	Timestamp string      `xml:"timestamp,attr"` // when it began: ISO 8601, UTC, without a zone
	Cases     []junitCase `xml:"testcase"`
}

type junitCounts struct {
	Tests    int    `xml:"tests,attr"`
	Failures int    `xml:"failures,attr"` // cases that are missing or wrong
	Errors   int    `xml:"errors,attr"`   // cases that could not be judged
	Skipped  int    `xml:"skipped,attr"`
	Time     string `xml:"time,attr"` // seconds
}

type junitCase struct {
	Name    string        `xml:"name,attr"`
	Class   string        `xml:"classname,attr"`
	Time    string        `xml:"time,attr"`
	Failure *junitProblem `xml:"failure"`
	Error   *junitProblem `xml:"error"`
}

type junitProblem struct {
	Type    string `xml:"type,attr"`
	Message string `xml:"message,attr"`
	Text    string `xml:",chardata"`
}

// newJUnit reports verdicts, or the error that there are none because of. All artifacts are judged
// at once, so the time is that of the suite, and the cases have none.
func newJUnit(release string, began time.Time, took time.Duration, verdicts []jsonVerdict, err error) *junit {
	var cases []junitCase
	for _, v := range verdicts {
		c := junitCase{Name: v.Name, Class: v.Kind, Time: junitSeconds(0)}
		if v.State != cache.Present {
			c.Failure = &junitProblem{string(v.State), oneLine(v.Reason), fmt.Sprintf("derivation %s\n%s\n", v.Drv, v.Reason)}
		}
		cases = append(cases, c)
	}
	if err != nil {
		kind := "error"
		if errors.Is(err, cache.ErrUnreachable) {
			kind = "unreachable"
		}
		cases = []junitCase{{
			Name: "verify " + release, Class: "rpcbuild", Time: junitSeconds(took),
			Error: &junitProblem{kind, oneLine(err.Error()), err.Error() + "\n"},
		}}
	}
	counts := junitCounts{Tests: len(cases), Time: junitSeconds(took)}
	for _, c := range cases {
		if c.Failure != nil {
			counts.Failures++
		}
		if c.Error != nil {
			counts.Errors++
		}
	}
	suite := junitSuite{Name: release, junitCounts: counts, Timestamp: began.UTC().Format("2006-01-02T15:04:05"), Cases: cases}
	return &junit{junitCounts: counts, Suite: suite}
}

func junitSeconds(d time.Duration) string { return fmt.Sprintf("%.3f", d.Seconds()) }

// write replaces the file as a whole, so that whoever collects reports never reads half of one.
func (j *junit) write(file string) error {
	content, err := xml.MarshalIndent(j, "", "  ")
	if err != nil {
		return fmt.Errorf("write JUnit report: %w", err)
	}
	tmp, err := os.CreateTemp(filepath.Dir(file), ".junit")
	if err != nil {
		return fmt.Errorf("write JUnit report: %w", err)
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.WriteString(xml.Header + string(content) + "\n")
	if err == nil {
		err = tmp.Chmod(0o644)
	}
	if err := errors.Join(err, tmp.Close()); err != nil {
		return fmt.Errorf("write JUnit report: %w", err)
	}
	if err := os.Rename(tmp.Name(), file); err != nil {
		return fmt.Errorf("write JUnit report: %w", err)
	}
	return nil
}
