package derive

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// RunBuild is a whole build process: it runs the build that lies in dir and leaves output and
// result there. Its error is also in the result.
func RunBuild(ctx context.Context, kinds []Kind, dir string, log io.Writer) error {
	var result buildResult
	err := runBuild(ctx, kinds, dir, log, &result)
	if err != nil {
		result = buildResult{Error: err.Error()}
		fmt.Fprintf(log, "rpcbuild: %v\n", err)
	}
	name := filepath.Join(dir, resultFile)
	writeErr := writeResult(name, &result)
	if writeErr != nil {
		writeErr = errors.Join(writeErr, writeResult(name, &buildResult{Error: writeErr.Error()}))
	}
	return cmp.Or(err, writeErr)
}

// writeResult writes over the room that the file has: to say that the disk is full, no more is needed.
func writeResult(name string, result *buildResult) error {
	content, err := json.Marshal(result)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		return fmt.Errorf("write result: %w", err)
	}
	_, err = f.WriteAt(content, 0)
	if err == nil {
		err = f.Truncate(int64(len(content)))
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write result: %w", err)
	}
	return nil
}

func runBuild(ctx context.Context, kinds []Kind, dir string, log io.Writer, result *buildResult) error {
	unix.Umask(0o022)
	content, err := os.ReadFile(filepath.Join(dir, buildFile))
	if err != nil {
		return fmt.Errorf("read build: %w", err)
	}
	var spec struct {
		Name       string          `json:"name"`
		Derivation json.RawMessage `json:"derivation"`
		Source     json.RawMessage `json:"source"`
	}
	if err := json.Unmarshal(content, &spec); err != nil {
		return fmt.Errorf("read build %s: %w", dir, err)
	}
	drv, err := DecodeDerivation(spec.Derivation)
	if err != nil {
		return err
	}
	kind, err := findKind(kinds, drv)
	if err != nil {
		return err
	}
	if kind.Sandbox {
		if err := isolate(); err != nil {
			return err
		}
	}
	b := NewBuild(drv, filepath.Join(dir, inputsDir), filepath.Join(dir, outputDir), filepath.Join(dir, scratchDir), log)
	b.Name, b.Source = spec.Name, spec.Source
	if err := kind.Build(ctx, b); err != nil {
		return err
	}
	result.Publish, result.Lines = b.manifest.Publish, b.manifest.Lines
	return nil
}

// findKind returns the builder of a derivation, which must be of the version that it names.
func findKind(kinds []Kind, drv *Derivation) (Kind, error) {
	for _, k := range kinds {
		if k.Name == drv.Kind && k.Version == drv.Builder {
			return k, nil
		}
	}
	return Kind{}, fmt.Errorf("build: this rpcbuild has no builder %s version %s", drv.Kind, drv.Builder)
}

// isolate completes the namespaces that the process was started in: mounts stay its own, and /proc
// shows its own processes.
func isolate() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w (in a chroot, which sandboxes cannot be made in, / is no mount: run rpcbuild outside of it, or in a container)", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	return nil
}

// NewBuild returns a build whose folders are given: inputs holds a folder for each input of drv,
// output and scratch are empty.
func NewBuild(drv *Derivation, inputs, output, scratch string, log io.Writer) *Build {
	return &Build{Drv: drv, Output: output, Scratch: scratch, Log: log, inputs: inputs}
}
