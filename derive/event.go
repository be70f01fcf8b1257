package derive

import (
	"fmt"

	"github.com/rcbops/rpcbuild/store"
)

// EventType tells what an event says.
type EventType int

// The events of a node come in this order: Start, any number of Wait and Progress, then Done or
// Fail, once. What is only looked up, or skipped, has just a Done; a fetch whose file the store has,
// or nobody needs, has none.
const (
	Start    EventType = iota
	Wait               // Holder builds the derivation already
	Progress           // Done of Total bytes came
	Done
	Fail
)

// Outcome tells how a node got its artifact.
type Outcome string

// The outcomes.
const (
	Built   Outcome = "built"   // its builder ran
	Fetched Outcome = "fetched" // it came from an upstream
	Reused  Outcome = "reused"  // the store or rpc-repo had it
	Failed  Outcome = "failed"
	Skipped Outcome = "skipped" // something that it needs failed
)

// An Event is something that happened to a node.
type Event struct {
	Type     EventType
	Node     *Node
	Drv      store.DrvID
	Artifact store.ArtifactID
	Outcome  Outcome // of Done and Fail; of Start, what is tried
	Seconds  float64
	Bytes    int64 // that came over the network, of Done
	Done     int64
	Total    int64
	Holder   store.Holder
	Err      error
	Log      string // path of a failed build's log
}

// Realised is what became of a node.
type Realised struct {
	Drv      store.DrvID
	Artifact store.ArtifactID
	Outcome  Outcome
}

// A Result says what became of every node that mattered.
type Result struct {
	Nodes map[*Node]Realised
}

// A BuildError is a build that failed.
type BuildError struct {
	Node *Node
	Drv  store.DrvID
	Log  string // path of the log; empty if the build did not start
	Kept string // the build's folder, where that was asked for
	Err  error
}

func (e *BuildError) Error() string {
	s := fmt.Sprintf("build %s (derivation %s): %v", e.Node.Name, e.Drv.Short(), e.Err)
	if e.Kept != "" {
		s += "\nits folder is kept: " + e.Kept
	}
	return s
}

func (e *BuildError) Unwrap() error { return e.Err }
