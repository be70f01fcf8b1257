package derive

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rcbops/rpcbuild/derive/download"
	"github.com/rcbops/rpcbuild/store"
)

// TestMain lets this binary play rpcbuild's hidden verb, a build in a process of its own, and a
// process that realizes something that never ends.
func TestMain(m *testing.M) {
	if len(os.Args) == 4 && os.Args[1] == "sleeper" {
		realizeSleeper(os.Args[2], os.Args[3])
		os.Exit(1)
	}
	if len(os.Args) == 3 && os.Args[1] == "build" {
		if RunBuild(context.Background(), testKinds(), os.Args[2], os.Stderr) != nil {
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func testKinds() []Kind {
	return []Kind{
		{Name: "test", Version: "1", Build: buildTest},
		{Name: "test-network", Version: "1", Network: true, Build: buildTest},
		{Name: "test-sandbox", Version: "1", Sandbox: true, Build: buildTest},
	}
}

// testParams say what a build of a test does. Its output is one file, of Text and of what its inputs
// hold.
type testParams struct {
	Text    string
	Comment string // changes the derivation, and not what it gives
	Do      string // fail, random, sleep, exit, pid
}

func buildTest(_ context.Context, b *Build) error {
	var p testParams
	if err := b.Params(&p); err != nil {
		return err
	}
	var notes string // where builds are counted
	if err := json.Unmarshal(b.Source, &notes); err != nil {
		return err
	}
	f, err := os.OpenFile(notes, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := fmt.Fprintf(f, "%s %d\n", b.Name, os.Getpid()); err != nil {
		return err
	}
	b.Logf("this is the log of %s", b.Name)
	text := p.Text
	switch p.Do {
	case "fail":
		return errors.New("the compiler ran out of patience")
	case "random":
		text += rand.Text()
	case "sleep":
		time.Sleep(time.Hour)
	case "exit":
		os.Exit(3)
	case "pid":
		text += fmt.Sprint(os.Getpid())
	}
	for _, name := range slices.Sorted(maps.Keys(b.Drv.Inputs)) {
		file, err := b.InputFile(name)
		if err != nil {
			return err
		}
		content, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		text += "(" + string(content) + ")"
	}
	b.Publish(store.Publication{Path: "test/" + p.Text, File: "out"})
	return os.WriteFile(filepath.Join(b.Output, "out"), []byte(text), 0o644)
}

// a bench is a store with an engine, and what they were seen to do.
type bench struct {
	*Engine
	t     *testing.T
	notes string

	mu     sync.Mutex
	events []Event
}

func newBench(t *testing.T) *bench {
	t.Helper()
	s, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return benchOn(t, s, filepath.Join(t.TempDir(), "notes"))
}

func benchOn(t *testing.T, s *store.Store, notes string) *bench {
	b := &bench{t: t, notes: notes}
	b.Engine = &Engine{Store: s, Kinds: testKinds(), Client: download.New(nil), Jobs: 2, Builder: "test", Tool: "1"}
	b.Events = func(ev Event) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.events = append(b.events, ev)
	}
	return b
}

// node is a node of the kind test; each input is known by its own name.
func (b *bench) node(name string, p testParams, inputs ...*Node) *Node {
	if p.Text == "" {
		p.Text = name
	}
	n := &Node{Name: name, Kind: "test", Params: p, Source: b.notes, Inputs: make(map[string]Input)}
	for _, in := range inputs {
		n.Inputs[in.Name] = Input{Node: in}
	}
	return n
}

// file is a fetch of content, from a file of that content.
func (b *bench) file(name, content string) *Node {
	b.t.Helper()
	path := filepath.Join(b.t.TempDir(), "upstream")
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		b.t.Fatal(err)
	}
	n, err := Fetch(name, name, store.HashBlob([]byte(content)), At("file://"+path))
	if err != nil {
		b.t.Fatal(err)
	}
	return n
}

func graph(t *testing.T, goals ...*Node) *Graph {
	t.Helper()
	g, err := NewGraph(goals...)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// realize realizes goals, which must succeed, and returns what became of every node, by name.
func (b *bench) realize(goals ...*Node) map[string]Realised {
	b.t.Helper()
	got, err := b.try(context.Background(), goals...)
	if err != nil {
		b.t.Fatal(err)
	}
	return got
}

func (b *bench) try(ctx context.Context, goals ...*Node) (map[string]Realised, error) {
	b.t.Helper()
	b.events = nil
	r, err := b.Realize(ctx, graph(b.t, goals...))
	got := make(map[string]Realised)
	for n, what := range r.Nodes {
		got[n.Name] = what
	}
	return got, err
}

// built returns the names of what was built since the last call, sorted.
func (b *bench) built() string {
	b.t.Helper()
	content, err := os.ReadFile(b.notes)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		b.t.Fatal(err)
	}
	os.Remove(b.notes)
	var names []string
	for line := range strings.Lines(string(content)) {
		name, _, _ := strings.Cut(line, " ")
		names = append(names, name)
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

// outcomes says what became of nodes, sorted.
func outcomes(got map[string]Realised) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(got)) {
		parts = append(parts, name+":"+string(got[name].Outcome))
	}
	return strings.Join(parts, " ")
}

// content returns what the file of an artifact holds.
func (b *bench) content(id store.ArtifactID) string {
	b.t.Helper()
	m, err := b.Store.Manifest(id)
	if err != nil {
		b.t.Fatal(err)
	}
	c, err := b.Store.ReadBlob(m.Entries[0].Blob())
	if err != nil {
		b.t.Fatal(err)
	}
	return string(c)
}

func (b *bench) want(what, got, want string) {
	b.t.Helper()
	if got != want {
		b.t.Errorf("%s: got %q, want %q", what, got, want)
	}
}
