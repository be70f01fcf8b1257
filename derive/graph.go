package derive

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/rcbops/rpcbuild/store"
)

// A Node is a derivation before its inputs are known by content. A graph of them is data: making
// one reads and builds nothing.
type Node struct {
	// Name is unique in the graph, such as "wheel/markupsafe": what people and logs call it.
	Name string
	// Kind names what builds it: a [Kind], or [FetchKind].
	Kind string
	// Params is the kind's own. It is encoded as canonical JSON, and decoded by the builder.
	Params any
	// Inputs are read by the build, each under the name that the builder knows it by.
	Inputs map[string]Input
	// Source tells where content that the params pin can be had, such as a git URL. It is encoded
	// as JSON, handed to the builder, and never part of any identity.
	Source any

	fetch *fetch // of a FetchKind node
}

// An Input is one input of a node.
type Input struct {
	*Node
	// Unpack asks for the input, which is one tar named rootfs.tar, as an unpacked tree. It is
	// read-only and shared between builds.
	Unpack bool
}

// FetchKind is the kind of nodes that [Fetch] makes.
const FetchKind = "fetch"

type fetch struct {
	manifest *store.Manifest
	artifact store.ArtifactID
	blob     store.Blob
	locate   Locator
}

// A Locator returns URLs (http, https or file) of one file, to be tried in turn. It is asked only
// when the file must be fetched.
type Locator func(ctx context.Context) ([]string, error)

// At returns the Locator of a file whose URLs are known.
func At(urls ...string) Locator {
	return func(context.Context) ([]string, error) { return urls, nil }
}

type fetchParams struct {
	Name string     `json:"name"`
	Blob store.Blob `json:"blob"`
}

// Fetch returns the node of one file with known content. Its artifact is that file, under the
// name file, and known before anything is read. Where the file comes from is no part of it.
func Fetch(name, file string, want store.Blob, locate Locator) (*Node, error) {
	m := store.SingleFile(file, want)
	id, err := m.ID()
	if err != nil {
		return nil, fmt.Errorf("fetch %s: %w", name, err)
	}
	return &Node{
		Name: name, Kind: FetchKind, Params: fetchParams{file, want},
		fetch: &fetch{manifest: m, artifact: id, blob: want, locate: locate},
	}, nil
}

// A Graph is what is reachable from goals.
type Graph struct {
	// Goals are the nodes whose artifacts are asked for.
	Goals []*Node
	// Nodes are all of them, each after its inputs.
	Nodes []*Node
}

// NewGraph collects the nodes that goals reach, and refuses cycles and two nodes of one name.
func NewGraph(goals ...*Node) (*Graph, error) {
	g := &Graph{Goals: goals}
	names := make(map[string]*Node)
	var path []*Node
	var visit func(n *Node) error
	visit = func(n *Node) error {
		if i := slices.Index(path, n); i >= 0 {
			return fmt.Errorf("graph: cycle: %s", cycle(path[i:]))
		}
		switch other := names[n.Name]; {
		case other == n:
			return nil
		case other != nil:
			return fmt.Errorf("graph: two different nodes are named %s", n.Name)
		}
		path = append(path, n)
		for _, name := range n.inputNames() {
			if err := visit(n.Inputs[name].Node); err != nil {
				return err
			}
		}
		path = path[:len(path)-1]
		names[n.Name] = n
		g.Nodes = append(g.Nodes, n)
		return nil
	}
	for _, n := range goals {
		if err := visit(n); err != nil {
			return nil, err
		}
	}
	return g, nil
}

// Node returns the node of that name, or nil.
func (g *Graph) Node(name string) *Node {
	i := slices.IndexFunc(g.Nodes, func(n *Node) bool { return n.Name == name })
	if i < 0 {
		return nil
	}
	return g.Nodes[i]
}

func (n *Node) inputNames() []string {
	names := make([]string, 0, len(n.Inputs))
	for name := range n.Inputs {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// derivation returns the node's derivation, once the artifacts of its inputs are known.
func (n *Node) derivation(builder string, artifact func(*Node) store.ArtifactID) (*Derivation, error) {
	params, err := store.CanonicalJSON(n.Params)
	if err != nil {
		return nil, fmt.Errorf("derivation %s: %w", n.Name, err)
	}
	d := &Derivation{
		Schema: schema, Kind: n.Kind, Builder: builder, Platform: Platform,
		Params: json.RawMessage(params), Inputs: make(map[string]store.ArtifactID, len(n.Inputs)),
	}
	for name, in := range n.Inputs {
		d.Inputs[name] = artifact(in.Node)
	}
	return d, nil
}

func cycle(path []*Node) string {
	names := make([]string, 0, len(path)+1)
	for _, n := range append(path, path[0]) {
		names = append(names, n.Name)
	}
	return strings.Join(names, " needs ")
}
