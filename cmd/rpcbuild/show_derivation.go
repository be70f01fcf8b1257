package main

import (
	"errors"
	"time"

	"github.com/rcbops/rpcbuild/derive"
	"github.com/rcbops/rpcbuild/store"
)

// jsonDerivation is a line of show. What is not known before a build is empty. Of a whole release it
// says nothing of this machine, so that two of them can be compared.
type jsonDerivation struct {
	Name     string                      `json:"name"`
	Kind     string                      `json:"kind"`
	Drv      store.DrvID                 `json:"drv"`
	Artifact store.ArtifactID            `json:"artifact"`
	Size     int64                       `json:"size"`
	Inputs   map[string]store.ArtifactID `json:"inputs"`
	Publish  []string                    `json:"publish"`
	// Who built it, if one derivation is asked for and somebody says so.
	Builder string     `json:"builder,omitempty"`
	Tool    string     `json:"tool,omitempty"`
	Time    *time.Time `json:"time,omitempty"`
	Seconds float64    `json:"seconds,omitempty"`
	Signers []string   `json:"signers,omitempty"` // public keys
}

func artifactsOf(steps []derive.Step) map[*derive.Node]store.ArtifactID {
	artifacts := make(map[*derive.Node]store.ArtifactID, len(steps))
	for _, s := range steps {
		artifacts[s.Node] = s.Artifact
	}
	return artifacts
}

func (o *showOptions) printJSON(s *session, steps []derive.Step) error {
	j := newJSONLines(s.out)
	artifacts := artifactsOf(steps)
	for _, st := range steps {
		d, err := s.describe(st, artifacts)
		if err != nil {
			return err
		}
		j.write(d)
	}
	return j.err
}

// describe tells of a derivation what contracts promise. Where its artifact is published is known
// once the store has it.
func (s *session) describe(st derive.Step, artifacts map[*derive.Node]store.ArtifactID) (jsonDerivation, error) {
	d := jsonDerivation{
		Name: st.Node.Name, Kind: st.Node.Kind, Drv: st.Drv, Artifact: st.Artifact, Size: st.Size,
		Inputs: make(map[string]store.ArtifactID, len(st.Node.Inputs)), Publish: []string{},
	}
	for name, in := range st.Node.Inputs {
		d.Inputs[name] = artifacts[in.Node]
	}
	if st.Artifact.IsZero() {
		return d, nil
	}
	m, err := s.store.Manifest(st.Artifact)
	if errors.Is(err, store.ErrNotFound) {
		return d, nil
	}
	if err != nil {
		return d, err
	}
	d.Size = m.Size()
	for _, p := range m.Publish {
		d.Publish = append(d.Publish, p.Path)
	}
	return d, nil
}

// describeBuild is describe, with who built it.
func (s *session) describeBuild(st derive.Step, artifacts map[*derive.Node]store.ArtifactID) (jsonDerivation, error) {
	d, err := s.describe(st, artifacts)
	if err != nil || st.Artifact.IsZero() {
		return d, err
	}
	said, err := s.store.Statement(st.Drv, st.Artifact)
	if errors.Is(err, store.ErrNotFound) {
		return d, nil
	}
	if err != nil {
		return d, err
	}
	d.Builder, d.Tool, d.Time, d.Seconds = said.Builder, said.Tool, &said.Time, milliseconds(said.Seconds)
	for _, k := range said.Signers() {
		d.Signers = append(d.Signers, k.String())
	}
	return d, nil
}
