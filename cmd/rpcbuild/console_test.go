package main

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

// screen is a terminal that knows what the console uses: lines, cursor up, carriage return, erase
// below, and that it wraps lines.
type screen struct {
	width int
	lines []string // without their ends; the cursor is in the last one
	row   int
}

func (s *screen) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		switch {
		case bytes.HasPrefix(p, []byte("\x1b[A")):
			s.row, p = max(0, s.row-1), p[3:]
		case bytes.HasPrefix(p, []byte("\x1b[J")):
			s.lines, p = append(s.lines[:s.row:s.row], ""), p[3:]
		case p[0] == '\r':
			p = p[1:]
		case p[0] == '\n':
			s.row++
			if s.row == len(s.lines) {
				s.lines = append(s.lines, "")
			}
			p = p[1:]
		default:
			r, size := utf8.DecodeRune(p)
			if utf8.RuneCountInString(s.lines[s.row]) == s.width {
				s.row++
				s.lines = append(s.lines, "")
			}
			s.lines[s.row] += string(r)
			p = p[size:]
		}
	}
	return n, nil
}

// resize wraps what is on the screen to another width, as terminals do.
func (s *screen) resize(width int) {
	text := strings.Join(s.lines, "\n")
	*s = screen{width: width, lines: []string{""}}
	s.Write([]byte(text))
}

func newScreen(width, height int) (*screen, *console) {
	s := &screen{width: width, lines: []string{""}}
	return s, &console{w: s, size: func() (int, int) { return s.width, height }}
}

func TestConsoleView(t *testing.T) {
	s, c := newScreen(20, 5)
	fmt.Fprint(c, "before\n")
	c.show([]string{"one", "two"})
	fmt.Fprint(c, "above\n")
	c.show([]string{"a line of more than twenty letters"})
	if diff := cmp.Diff([]string{"before", "above", "a line of more tha…", ""}, s.lines); diff != "" {
		t.Errorf("with a view (-want +got):\n%s", diff)
	}
	c.show([]string{"1", "2", "3", "4", "5", "6"})
	if diff := cmp.Diff([]string{"before", "above", "1", "2", "3", "4", ""}, s.lines); diff != "" {
		t.Errorf("more lines than the screen has (-want +got):\n%s", diff)
	}
	c.show(nil)
	fmt.Fprint(c, "after\n")
	if diff := cmp.Diff([]string{"before", "above", "after", ""}, s.lines); diff != "" {
		t.Errorf("at the end (-want +got):\n%s", diff)
	}
}

func TestConsoleResize(t *testing.T) {
	for _, width := range []int{5, 9, 10, 19, 60} {
		s, c := newScreen(20, 24)
		fmt.Fprint(c, "kept\n")
		c.show([]string{"nineteen letters -+", "short"})
		s.resize(width)
		c.show(nil)
		if diff := cmp.Diff([]string{"kept", ""}, s.lines); diff != "" {
			t.Errorf("at width %d (-want +got):\n%s", width, diff)
		}
	}
}

func TestConsoleNoTerminal(t *testing.T) {
	var b bytes.Buffer
	c := &console{w: &b}
	if c.isTerminal() {
		t.Error("a buffer is no terminal")
	}
	fmt.Fprint(c, "no end of line")
	if b.String() != "no end of line" {
		t.Errorf("wrote %q", b.String())
	}
}
