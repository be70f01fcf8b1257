package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rcbops/rpcbuild/derive"
	"github.com/rcbops/rpcbuild/store"
)

// clock is a time that tests move.
type clock struct{ t time.Time }

func (c *clock) now() time.Time { return c.t }

func (c *clock) pass(d time.Duration) { c.t = c.t.Add(d) }

func testEvents(t *testing.T) (build, broken, user *derive.Node, files []*derive.Node, fail derive.Event) {
	build = &derive.Node{Name: "wheel/good", Kind: "wheel"}
	broken = &derive.Node{Name: "wheel/bad", Kind: "wheel"}
	user = &derive.Node{Name: "venv/bad", Kind: "venv"}
	for _, name := range []string{"deb/a", "deb/b", "deb/c", "deb/d"} {
		files = append(files, &derive.Node{Name: name, Kind: derive.FetchKind})
	}
	log := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(log, []byte("compiling\nno such header\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	cause := errors.New("pip: exit status 1")
	fail = derive.Event{
		Type: derive.Fail, Node: broken, Outcome: derive.Failed, Seconds: 3, Log: log,
		Err: &derive.BuildError{Node: broken, Log: log, Err: cause},
	}
	return build, broken, user, files, fail
}

func TestPlainView(t *testing.T) {
	build, broken, user, files, fail := testEvents(t)
	var b bytes.Buffer
	c := &clock{time.Unix(0, 0)}
	act := newActivity("r1", c.now)
	v := &plainView{activity: act, w: &b, told: c.now()}
	tell := func(ev derive.Event) {
		act.add(ev)
		v.event(ev)
	}
	tell(derive.Event{Type: derive.Start, Node: build, Outcome: derive.Built})
	for _, f := range files {
		tell(derive.Event{Type: derive.Start, Node: f, Outcome: derive.Fetched, Total: 1000})
		tell(derive.Event{Type: derive.Progress, Node: f, Done: 500})
		tell(derive.Event{Type: derive.Done, Node: f, Outcome: derive.Fetched, Bytes: 1000})
	}
	v.tick()
	c.pass(11 * time.Second)
	v.tick()
	c.pass(61 * time.Second)
	v.tick()
	tell(derive.Event{Type: derive.Done, Node: build, Outcome: derive.Built, Seconds: 72})
	tell(derive.Event{Type: derive.Start, Node: broken, Outcome: derive.Built})
	tell(fail)
	tell(derive.Event{Type: derive.Done, Node: user, Outcome: derive.Skipped})
	v.end()
	want := `building  wheel/good
fetched   4 files  4.0 kB
running   wheel/good (1m12s)
built     wheel/good  1m12s
building  wheel/bad
failed    wheel/bad  3.0s
  cause       pip: exit status 1
  derivation  ` + store.DrvID{}.String() + `
  log         ` + fail.Log + `
  ---- log
  | compiling
  | no such header
  ----
skipped   venv/bad  something that it needs failed
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
}

func TestLiveView(t *testing.T) {
	build, _, _, files, fail := testEvents(t)
	s, console := newScreen(80, 24)
	c := &clock{time.Unix(0, 0)}
	act := newActivity("r1", c.now)
	act.nodes = 4
	v := &liveView{activity: act, console: console}
	tell := func(ev derive.Event) {
		act.add(ev)
		v.event(ev)
	}
	v.tick()
	tell(derive.Event{Type: derive.Start, Node: build, Outcome: derive.Built})
	c.pass(2 * time.Second)
	for _, f := range files {
		tell(derive.Event{Type: derive.Start, Node: f, Outcome: derive.Fetched, Total: 2000})
		tell(derive.Event{Type: derive.Progress, Node: f, Done: 500})
	}
	tell(fail)
	v.tick()
	want := []string{
		"failed    wheel/bad  3.0s",
		"  cause       pip: exit status 1",
	}
	if diff := cmp.Diff(want, s.lines[:2]); diff != "" {
		t.Errorf("failure (-want +got):\n%s", diff)
	}
	want = []string{
		"r1 2.0s | 1 failed | 3 left | 2.0 kB, 500 B/s",
		"  building  wheel/good                                2.0s",
		"  fetching  deb/a                                     500 B of 2.0 kB",
		"  fetching  deb/b                                     500 B of 2.0 kB",
		"  fetching  deb/c                                     500 B of 2.0 kB",
		"  fetching  and 1 more",
		"",
	}
	if diff := cmp.Diff(want, s.lines[len(s.lines)-len(want):]); diff != "" {
		t.Errorf("view (-want +got):\n%s", diff)
	}
	v.end()
	if got := strings.Join(s.lines, "\n"); strings.Contains(got, "building") {
		t.Errorf("the view is still there:\n%s", got)
	}
}
