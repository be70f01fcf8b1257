package main

import (
	"bytes"
	"io"
	"os"
	"strings"
	"sync"
	"unicode/utf8"

	"golang.org/x/term"
)

// streams are the standard streams.
type streams struct {
	out io.Writer // results, for people or, with --json, for programs
	err *console  // everything else
}

func systemStreams() streams {
	c := &console{w: os.Stderr}
	if fd := int(os.Stderr.Fd()); term.IsTerminal(fd) && os.Getenv("TERM") != "dumb" {
		c.size = func() (width, height int) {
			width, height, err := term.GetSize(fd)
			if err != nil || width <= 0 || height <= 0 {
				return 80, 24
			}
			return width, height
		}
	}
	return streams{out: os.Stdout, err: c}
}

// A console is standard error. On a terminal it can have a view of some lines at its bottom, which
// is redrawn in place; what is written goes above it. It is safe for concurrent use.
type console struct {
	w    io.Writer
	size func() (width, height int) // nil where it is not a terminal

	mu    sync.Mutex
	view  []string // wanted
	drawn []int    // the widths of the lines that are on the screen, in letters
}

// isTerminal reports whether the console can have a view.
func (c *console) isTerminal() bool { return c.size != nil }

// Write prints whole lines above the view.
func (c *console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.drawn) == 0 {
		return c.w.Write(p)
	}
	var b bytes.Buffer
	c.erase(&b)
	b.Write(p)
	if !bytes.HasSuffix(p, []byte("\n")) {
		b.WriteByte('\n')
	}
	c.draw(&b)
	if _, err := c.w.Write(b.Bytes()); err != nil {
		return 0, err
	}
	return len(p), nil
}

// show replaces the view; no lines remove it. Lines are cut to the width of the terminal, and those
// that its height has no room for are left out.
func (c *console) show(lines []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var b bytes.Buffer
	c.erase(&b)
	c.view = lines
	c.draw(&b)
	c.w.Write(b.Bytes())
}

// erase removes the drawn lines. A terminal that became narrower since has wrapped them: each takes
// as many rows as its letters need now.
func (c *console) erase(b *bytes.Buffer) {
	if len(c.drawn) == 0 {
		return
	}
	width, _ := c.size()
	for _, letters := range c.drawn {
		for range max(1, (letters+width-1)/width) {
			b.WriteString("\x1b[A")
		}
	}
	b.WriteString("\r\x1b[J")
	c.drawn = nil
}

func (c *console) draw(b *bytes.Buffer) {
	if len(c.view) == 0 {
		return
	}
	width, height := c.size()
	for _, line := range c.view[:min(len(c.view), height-1)] {
		line = cut(line, width-1) // a full line would wrap on some terminals
		b.WriteString(line + "\n")
		c.drawn = append(c.drawn, utf8.RuneCountInString(line))
	}
}

// cut returns the first letters of a line, with an ellipsis where some are left out.
func cut(line string, width int) string {
	line = strings.TrimRight(line, " ")
	if utf8.RuneCountInString(line) <= width {
		return line
	}
	letters := []rune(line)
	return string(letters[:max(0, width-1)]) + "…"
}
