package derive

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/rcbops/rpcbuild/store"
)

func TestGraphOrder(t *testing.T) {
	all := nodes("f:", "leaf: f", "left: leaf", "right: leaf f", "top: left right")
	g := graph(t, all["top"], all["leaf"], all["top"])
	var names []string
	for _, n := range g.Nodes {
		names = append(names, n.Name)
	}
	if got := strings.Join(names, " "); got != "f leaf left right top" {
		t.Errorf("got %s", got)
	}
	if g.Node("left") != all["left"] || g.Node("nonesuch") != nil {
		t.Error("Node finds another")
	}
}

func TestGraphRefuses(t *testing.T) {
	all := nodes("a:", "b: a", "c: b")
	all["a"].Inputs["c"] = Input{Node: all["c"]}
	if _, err := NewGraph(all["c"]); err == nil || err.Error() != "graph: cycle: c needs b needs a needs c" {
		t.Errorf("cycle: %v", err)
	}
	self := &Node{Name: "self"}
	self.Inputs = map[string]Input{"x": {Node: self}}
	if _, err := NewGraph(self); err == nil || err.Error() != "graph: cycle: self needs self" {
		t.Errorf("cycle of one: %v", err)
	}
	user := &Node{Name: "user", Inputs: map[string]Input{"x": {Node: &Node{Name: "a"}}, "y": {Node: &Node{Name: "a"}}}}
	if _, err := NewGraph(user); err == nil || err.Error() != "graph: two different nodes are named a" {
		t.Errorf("duplicate: %v", err)
	}
}

func sampleDerivation() *Derivation {
	return &Derivation{
		Schema: schema, Kind: "wheel", Builder: "3", Platform: Platform, Params: json.RawMessage(`{"name":"a<b>","time":1}`),
		Inputs: map[string]store.ArtifactID{"sdist": store.HashArtifact([]byte("sdist")), "chroot": store.HashArtifact([]byte("chroot"))},
	}
}

// TestDerivationGolden holds the canonical form: a change of it builds everything again.
func TestDerivationGolden(t *testing.T) {
	got, err := sampleDerivation().Encode()
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile("testdata/derivation.json")
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	const id = "af153cd2b194079fd71ad3fec442f0802eaa61fd6da81fa963d323e4c844d783"
	if got := store.HashDrv(want).String(); got != id {
		t.Errorf("id %s, want %s", got, id)
	}
	if d, err := DecodeDerivation(want); err != nil || d.Kind != "wheel" || len(d.Inputs) != 2 {
		t.Errorf("got %v, %v", d, err)
	}
}

func TestDecodeDerivationRefuses(t *testing.T) {
	b, err := sampleDerivation().Encode()
	if err != nil {
		t.Fatal(err)
	}
	good := string(b)
	for name, c := range map[string]struct{ text, want string }{
		"nothing":        {"", "EOF"},
		"null":           {"null", "schema 0"},
		"another schema": {strings.Replace(good, `"schema":1`, `"schema":2`, 1), "schema 2, this rpcbuild knows 1"},
		"unknown key":    {strings.Replace(good, `"schema":1`, `"schema":1,"x":1`, 1), "unknown field"},
		"white space":    {good + " ", "not in canonical form"},
		"more":           {good + good, "not in canonical form"},
		"no inputs":      {good[:strings.Index(good, `"inputs"`)] + `"inputs":null}`, "not in canonical form"},
		"input unknown":  {good[:strings.Index(good, `"inputs"`)] + `"inputs":{"a":""}}`, "names no artifact"},
		"input no id":    {good[:strings.Index(good, `"inputs"`)] + `"inputs":{"a":"../x"}}`, "64 hexadecimal digits"},
	} {
		if _, err := DecodeDerivation([]byte(c.text)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func FuzzDecodeDerivation(f *testing.F) {
	b, err := sampleDerivation().Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := DecodeDerivation(b)
		if err != nil {
			return
		}
		if again, err := d.Encode(); err != nil || string(again) != string(b) {
			t.Errorf("%q becomes %q, %v", b, again, err)
		}
	})
}
