package derive

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/rcbops/rpcbuild/derive/archive"
	"github.com/rcbops/rpcbuild/derive/sandbox"
	"github.com/rcbops/rpcbuild/store"
)

// RootFS is the name of the one file of an artifact that is a root file system.
const RootFS = "rootfs.tar"

// build makes the artifact of a node whose inputs are in the store.
func (r *run) build(ctx context.Context, t task, st state, inputs map[string]store.ArtifactID) result {
	n := t.node
	res := result{task: t, drv: st.drv, outcome: Built}
	r.emit(Event{Type: Start, Node: n, Drv: st.drv, Outcome: Built})
	start := time.Now()
	b := &building{Engine: r.Engine, node: n, drv: st.drv, inputs: inputs}
	err := b.run(ctx)
	seconds := time.Since(start).Seconds()
	if err != nil {
		failed := &BuildError{Node: n, Drv: st.drv, Log: b.log, Kept: b.kept, Err: err}
		res.err = failed
		r.emit(Event{Type: Fail, Node: n, Drv: st.drv, Outcome: Failed, Seconds: seconds, Err: failed, Log: b.log})
		return res
	}
	switch {
	case b.reused:
		res.outcome = Reused
	case b.kind.Network:
		res.outcome = Fetched
	}
	res.artifact, res.here = b.artifact, true
	r.emit(Event{Type: Done, Node: n, Drv: st.drv, Artifact: b.artifact, Outcome: res.outcome, Seconds: seconds})
	return res
}

// building is one build, seen from the process that asked for it.
type building struct {
	*Engine
	node   *Node
	kind   Kind
	drv    store.DrvID
	inputs map[string]store.ArtifactID

	artifact store.ArtifactID
	reused   bool // another process built it while we waited
	log      string
	kept     string
}

// run builds unless another process does: then it waits for that one, and builds only if it died.
func (b *building) run(ctx context.Context) error {
	var err error
	if b.kind, err = b.Engine.kind(b.node); err != nil {
		return err
	}
	unlock, err := b.Store.Lock(ctx, b.drv, func(h store.Holder) {
		b.emit(Event{Type: Wait, Node: b.node, Drv: b.drv, Holder: h})
	})
	if err != nil {
		return err
	}
	defer unlock()
	if done, err := b.builtMeanwhile(); done || err != nil {
		return err
	}
	if b.kind.Sandbox {
		if err := sandbox.Check(); err != nil {
			return err
		}
	}
	if b.kind.Network && b.Offline {
		return errors.New("it reads from upstream, and --offline forbids that")
	}
	dir, err := b.Store.TempDir("build")
	if err != nil {
		return err
	}
	err = b.buildIn(ctx, dir)
	sandbox.Sweep(filepath.Join(dir, scratchDir))
	if err != nil && b.KeepFailed && ctx.Err() == nil {
		b.kept = b.Store.Keep(dir)
		return err
	}
	return errors.Join(err, os.RemoveAll(dir))
}

func (b *building) buildIn(ctx context.Context, dir string) error {
	started := time.Now()
	if err := b.prepare(dir); err != nil {
		return err
	}
	result, err := b.spawn(ctx, dir)
	if err != nil {
		return err
	}
	return b.commit(ctx, dir, result, started)
}

func (b *building) builtMeanwhile() (bool, error) {
	known, err := b.Store.Lookup([]store.DrvID{b.drv})
	if err != nil {
		return false, err
	}
	for _, id := range known[b.drv] {
		has, err := b.Store.Has(id)
		if err != nil {
			return false, err
		}
		if has {
			b.artifact, b.reused = id, true
			return true, nil
		}
	}
	return false, nil
}

// The files of a build's folder: what a build process is given, here or on another machine.
const (
	buildFile  = "build.json"  // a buildSpec
	resultFile = "result.json" // a buildResult
	inputsDir  = "inputs"
	outputDir  = "output"
	scratchDir = "scratch"
)

// resultRoom is how many bytes a result has from the beginning, so that a build that finds the disk
// full can say so.
const resultRoom = 4096

type buildSpec struct {
	Name       string          `json:"name"`
	Derivation json.RawMessage `json:"derivation"`
	Source     any             `json:"source,omitempty"`
}

type buildResult struct {
	Publish []store.Publication `json:"publish,omitempty"`
	Lines   []store.Line        `json:"lines,omitempty"`
	Error   string              `json:"error,omitempty"`
}

// prepare fills a build's folder.
func (b *building) prepare(dir string) error {
	_, encoded, err := b.identify(b.node, func(n *Node) store.ArtifactID { return b.input(n) })
	if err != nil {
		return err
	}
	if _, err := b.Store.PutDerivation(encoded); err != nil {
		return err
	}
	for _, d := range []string{inputsDir, outputDir, scratchDir} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			return err
		}
	}
	for name, in := range b.node.Inputs {
		target := filepath.Join(dir, inputsDir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			return err
		}
		if err := b.give(b.inputs[name], in, target); err != nil {
			return fmt.Errorf("input %s: %w", name, err)
		}
	}
	spec, err := json.Marshal(buildSpec{Name: b.node.Name, Derivation: encoded, Source: b.node.Source})
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, buildFile), spec, 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, resultFile), bytes.Repeat([]byte(" "), resultRoom), 0o644)
}

func (b *building) input(n *Node) store.ArtifactID {
	for name, in := range b.node.Inputs {
		if in.Node == n {
			return b.inputs[name]
		}
	}
	return store.ArtifactID{}
}

// give puts an input at target: its files, or a link to its unpacked tree.
func (b *building) give(id store.ArtifactID, in Input, target string) error {
	if !in.Unpack {
		return b.Store.Materialize(id, target)
	}
	tree, err := b.Unpacked(id)
	if err != nil {
		return err
	}
	return os.Symlink(tree, target)
}

// Unpacked returns the folder of the unpacked root file system that an artifact in the store is.
// Nobody may write to it. It needs root, for the files' owners.
func (e *Engine) Unpacked(id store.ArtifactID) (string, error) {
	return e.Store.Tree(id, func(m *store.Manifest, dir string) error {
		entry, ok := m.Lookup(RootFS)
		if !ok {
			return fmt.Errorf("the artifact has no %s", RootFS)
		}
		f, err := e.Store.OpenBlob(entry.Blob())
		if err != nil {
			return err
		}
		defer f.Close()
		return archive.Unpack(f, dir)
	})
}

// spawn runs the build in a process of its own. With root, that process has its own mounts and
// process ids: when it dies, by whatever signal, the kernel takes everything that it started and
// mounted with it.
func (b *building) spawn(ctx context.Context, dir string) (*buildResult, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	log, err := b.Store.CreateLog(b.drv)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	b.log = log.Name()
	cmd := exec.CommandContext(ctx, self, "build", dir)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = b.environment(dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if b.kind.Sandbox {
		cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWNS | syscall.CLONE_NEWPID
	}
	runErr := cmd.Run()
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	content, err := os.ReadFile(filepath.Join(dir, resultFile))
	if err != nil || len(bytes.TrimSpace(content)) == 0 {
		return nil, fmt.Errorf("the build process left no result: %w", cmp.Or(runErr, err, io.ErrUnexpectedEOF))
	}
	var result buildResult
	if err := json.Unmarshal(content, &result); err != nil {
		return nil, fmt.Errorf("read %s: %w", resultFile, err)
	}
	if result.Error != "" {
		return nil, errors.New(result.Error)
	}
	return &result, runErr
}

// environment is what a build process sees of this one's: nothing, but for a build that reads from
// the network, whose programs have their configuration there.
func (b *building) environment(dir string) []string {
	env := []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	if b.kind.Network {
		env = os.Environ()
	}
	return append(env, "TMPDIR="+filepath.Join(dir, scratchDir))
}

// commit adds the output to the store and says that the derivation gave it.
func (b *building) commit(ctx context.Context, dir string, result *buildResult, started time.Time) error {
	m := &store.Manifest{Publish: result.Publish, Lines: result.Lines}
	id, err := b.Store.AddTree(ctx, filepath.Join(dir, outputDir), m)
	if err != nil {
		return err
	}
	b.artifact = id
	now := time.Now()
	return b.Store.AddRealisation(store.Realisation{
		Drv: b.drv, Artifact: id, Builder: b.Builder, Tool: b.Tool,
		Time: now.UTC().Truncate(time.Second), Seconds: now.Sub(started).Seconds(), Size: m.Size(),
	}, b.Key)
}
