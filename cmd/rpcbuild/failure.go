package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/rcbops/rpcbuild/derive"
)

// writeFailure tells of a node that failed by itself: its derivation, its log, its root cause, and
// what the log says, whole or its last lines.
func writeFailure(w io.Writer, ev derive.Event, lastLines int) {
	cause, kept := ev.Err, ""
	var build *derive.BuildError
	if errors.As(ev.Err, &build) {
		cause, kept = build.Err, build.Kept
	} else if inner := errors.Unwrap(ev.Err); inner != nil { // without the name, which is told already
		cause = inner
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "failed    %s  %s\n", ev.Node.Name, formatSeconds(ev.Seconds))
	fmt.Fprintf(&b, "  cause       %s\n", strings.ReplaceAll(cause.Error(), "\n", "\n              "))
	fmt.Fprintf(&b, "  derivation  %s\n", ev.Drv)
	if ev.Log != "" {
		fmt.Fprintf(&b, "  log         %s\n", ev.Log)
	}
	if kept != "" {
		fmt.Fprintf(&b, "  kept        %s\n", kept)
	}
	if ev.Log != "" {
		writeLog(&b, ev.Log, lastLines)
	}
	w.Write(b.Bytes())
}

// logLimit bounds how much of a log goes into another log, in bytes.
const logLimit = 8 << 20

func writeLog(b *bytes.Buffer, name string, lastLines int) {
	content, err := readTail(name, logLimit)
	if err != nil {
		fmt.Fprintf(b, "  the log cannot be read: %v\n", err)
		return
	}
	content = bytes.TrimRight(content, "\n")
	if len(content) == 0 {
		return
	}
	lines := strings.Split(string(content), "\n")
	what := "log"
	if lastLines > 0 && len(lines) > lastLines {
		lines = lines[len(lines)-lastLines:]
		what = fmt.Sprintf("last %d lines of the log", lastLines)
	}
	fmt.Fprintf(b, "  ---- %s\n", what)
	for _, l := range lines {
		fmt.Fprintf(b, "  | %s\n", strings.TrimRight(l, "\r"))
	}
	fmt.Fprint(b, "  ----\n")
}

// readTail returns the last bytes of a file, from the beginning of a line on.
func readTail(name string, limit int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	from := max(0, fi.Size()-limit)
	if _, err := f.Seek(from, io.SeekStart); err != nil {
		return nil, err
	}
	content, err := io.ReadAll(io.LimitReader(f, limit))
	if err != nil || from == 0 {
		return content, err
	}
	_, content, _ = bytes.Cut(content, []byte("\n"))
	return content, nil
}

// unreported returns the parts of a joined error that no event told of.
func unreported(err error, reported []error) error {
	if err == nil {
		return nil
	}
	for _, r := range reported {
		if err == r {
			return nil
		}
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return err
	}
	var left []error
	for _, e := range joined.Unwrap() {
		left = append(left, unreported(e, reported))
	}
	return errors.Join(left...)
}

// conclude returns the error that a verb ends with, after printing what no event told of. Its code
// stays.
func (r *reporter) conclude(what string, err error) error {
	if err == nil || len(r.act.errors) == 0 || isInterrupt(err) {
		return err
	}
	if left := unreported(err, r.act.errors); left != nil {
		printError(r.err, left)
	}
	fmt.Fprintf(r.err, "rpcbuild: %s: %s\n", what, r.act.total().sentence())
	return reportedError{err}
}
