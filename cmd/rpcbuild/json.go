package main

import (
	"encoding/json"
	"io"
	"math"

	"github.com/rcbops/rpcbuild/derive"
	"github.com/rcbops/rpcbuild/store"
)

// jsonLines prints one JSON object a line. The first error stays: the verb returns it at its end.
type jsonLines struct {
	enc *json.Encoder
	err error
}

func newJSONLines(w io.Writer) *jsonLines {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return &jsonLines{enc: enc}
}

func (j *jsonLines) write(v any) {
	if j.err == nil {
		j.err = j.enc.Encode(v)
	}
}

// jsonEvent is a line of realize.
type jsonEvent struct {
	Event    string           `json:"event"`
	Name     string           `json:"name"`
	Kind     string           `json:"kind"`
	Drv      store.DrvID      `json:"drv"`
	Artifact store.ArtifactID `json:"artifact"`
	Outcome  derive.Outcome   `json:"outcome"`
	Seconds  float64          `json:"seconds"`
	Bytes    int64            `json:"bytes"`
	Error    string           `json:"error,omitempty"`
	Log      string           `json:"log,omitempty"`
}

// event prints what happened to a node. How far something is, and who waits for whom, is for people.
func (j *jsonLines) event(ev derive.Event) {
	line := jsonEvent{
		Name: ev.Node.Name, Kind: ev.Node.Kind, Drv: ev.Drv, Artifact: ev.Artifact,
		Outcome: ev.Outcome, Seconds: milliseconds(ev.Seconds), Bytes: ev.Bytes, Log: ev.Log,
	}
	switch ev.Type {
	case derive.Start:
		line.Event, line.Outcome = "start", ""
	case derive.Done:
		line.Event = "done"
	case derive.Fail:
		line.Event, line.Error = "fail", ev.Err.Error()
	default:
		return
	}
	j.write(line)
}

// milliseconds rounds seconds to what is worth reading.
func milliseconds(s float64) float64 { return math.Round(s*1000) / 1000 }
