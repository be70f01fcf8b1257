package main

import (
	"encoding/xml"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rcbops/rpcbuild/cache"
	"github.com/rcbops/rpcbuild/store"
)

// read is a report as its readers see it: Jenkins, GitLab and others ask for these.
type readJUnit struct {
	Suites []struct {
		Name      string  `xml:"name,attr"`
		Tests     int     `xml:"tests,attr"`
		Failures  int     `xml:"failures,attr"`
		Errors    int     `xml:"errors,attr"`
		Time      float64 `xml:"time,attr"`
		Timestamp string  `xml:"timestamp,attr"`
		Cases     []struct {
			Name    string       `xml:"name,attr"`
			Class   string       `xml:"classname,attr"`
			Time    *float64     `xml:"time,attr"`
			Failure *readProblem `xml:"failure"`
			Error   *readProblem `xml:"error"`
		} `xml:"testcase"`
	} `xml:"testsuite"`
}

type readProblem struct {
	Type    string `xml:"type,attr"`
	Message string `xml:"message,attr"`
	Text    string `xml:",chardata"`
}

func readReport(t *testing.T, j *junit) (r readJUnit, text string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "report.xml")
	if err := j.write(file); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := xml.Unmarshal(b, &r); err != nil {
		t.Fatalf("%v\n%s", err, b)
	}
	if len(r.Suites) != 1 {
		t.Fatalf("%d suites\n%s", len(r.Suites), b)
	}
	return r, string(b)
}

func TestJUnit(t *testing.T) {
	began := time.Date(2026, 4, 1, 14, 0, 0, 0, time.FixedZone("", 2*3600))
	ugly := "it said: \x1b[31m<b>\"A\" & 'B'</b>\x00\xff ]]>\n\tend\uffff"
	verdicts := []jsonVerdict{
		{Name: "apt/a", Kind: "apt", State: cache.Present},
		{Name: "wheel/<é>", Kind: "wheel", State: cache.Missing, Reason: "derivation 1 of resolve/x was never built", Drv: store.HashDrv(nil)},
		{Name: "image/b", Kind: "image", State: cache.Wrong, Reason: ugly},
	}
	r, text := readReport(t, newJUnit("r1", began, 1500*time.Millisecond, verdicts, nil))
	s := r.Suites[0]
	if s.Name != "r1" || s.Tests != 3 || s.Failures != 2 || s.Errors != 0 || s.Time != 1.5 || s.Timestamp != "2026-04-01T12:00:00" {
		t.Errorf("suite %+v", s)
	}
	for i, c := range s.Cases {
		v := verdicts[i]
		if c.Name != v.Name || c.Class != v.Kind || c.Time == nil || c.Error != nil || (c.Failure != nil) != (v.State != cache.Present) {
			t.Errorf("case %+v of %+v", c, v)
		}
	}
	if f := s.Cases[1].Failure; f.Type != "missing" || f.Message != verdicts[1].Reason || !strings.Contains(f.Text, store.HashDrv(nil).String()) {
		t.Errorf("missing: %+v", f)
	}
	want := "it said: \ufffd[31m<b>\"A\" & 'B'</b>\ufffd\ufffd ]]> end\ufffd"
	if f := s.Cases[2].Failure; f.Type != "wrong" || f.Message != want {
		t.Errorf("wrong: %q, want %q", f.Message, want)
	}
	for i, c := range []byte(text) {
		if c < ' ' && c != '\n' {
			t.Errorf("byte %d is %#x", i, c)
		}
	}
}

func TestJUnitOfAnError(t *testing.T) {
	unreachable := fmt.Errorf("verify r1: ask https://x: %w", cache.ErrUnreachable)
	for kind, err := range map[string]error{"unreachable": unreachable, "error": errors.New("boom\nand more")} {
		r, _ := readReport(t, newJUnit("r1", time.Now(), time.Second, nil, err))
		s := r.Suites[0]
		if s.Tests != 1 || s.Errors != 1 || s.Failures != 0 || len(s.Cases) != 1 {
			t.Fatalf("%s: %+v", kind, s)
		}
		if e := s.Cases[0].Error; e == nil || e.Type != kind || e.Message != oneLine(err.Error()) || !strings.Contains(e.Text, err.Error()) {
			t.Errorf("%s: %+v", kind, e)
		}
	}
}

// A report that cannot be written leaves the one that is there, and nothing else.
func TestJUnitIsWrittenWhole(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "report.xml")
	if err := os.MkdirAll(filepath.Join(file, "in", "the", "way"), 0o755); err != nil {
		t.Fatal(err)
	}
	j := newJUnit("r1", time.Now(), 0, nil, nil)
	if err := j.write(file); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("got %v", err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 1 {
		t.Errorf("left: %v", left)
	}
	if err := j.write(filepath.Join(dir, "none", "report.xml")); err == nil {
		t.Error("a missing folder was written to")
	}
}
