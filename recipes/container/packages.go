package container

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/rcbops/rpcbuild/derive/archive"
)

// installed is one package, in the list that a resolve makes and in the one that a container has.
type installed struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	Arch    string `json:"arch"`
	File    string `json:"file,omitempty"` // of a resolve: the .deb, below debs
}

// packages are the .debs to install.
type packages struct {
	dir  string // of the .debs, on the host
	list []installed
}

// readPackages reads the artifact of a resolve: packages.json, and the files that it names in debs.
func readPackages(dir string) (*packages, error) {
	const file = "packages.json"
	b, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		return nil, fmt.Errorf("read package list: %w", err)
	}
	p := &packages{dir: filepath.Join(dir, "debs")}
	if err := json.Unmarshal(b, &p.list); err != nil {
		return nil, fmt.Errorf("read package list %s: %w", file, err)
	}
	for _, i := range p.list {
		if !strings.HasSuffix(i.File, ".deb") || filepath.Base(i.File) != i.File {
			return nil, fmt.Errorf("read package list %s: %s: %q is not the name of a .deb", file, i.Name, i.File)
		}
	}
	slices.SortStableFunc(p.list, func(a, b installed) int { return strings.Compare(a.File, b.File) })
	return p, nil
}

func (p *packages) path(i installed) string { return filepath.Join(p.dir, i.File) }

// extract unpacks the content of all packages into root, without any of their scripts: enough of a
// system for dpkg itself, and the scripts, to run in. Decompression is most of the work and is done
// side by side; what it gives is unpacked in a fixed order, because the first package that has a
// directory decides its owner and mode.
func (p *packages) extract(ctx context.Context, root, scratch string) error {
	list := slices.Clone(p.list)
	// base-files comes first: it has the links, such as /lib, that others unpack through.
	slices.SortStableFunc(list, func(a, b installed) int {
		return boolToInt(b.Name == "base-files") - boolToInt(a.Name == "base-files")
	})
	ready := make([]chan struct{}, len(list))
	for n := range ready {
		ready[n] = make(chan struct{})
	}
	data := func(n int) string { return filepath.Join(scratch, fmt.Sprintf("data%d.tar", n)) }
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0) + 1)
	g.Go(func() error {
		for n, i := range list {
			select {
			case <-ready[n]:
			case <-ctx.Done():
				return ctx.Err()
			}
			if err := unpackFile(data(n), root); err != nil {
				return fmt.Errorf("extract %s: %w", i.File, err)
			}
		}
		return nil
	})
	for n, i := range list {
		g.Go(func() error {
			if err := decompress(ctx, p.path(i), data(n)); err != nil {
				return fmt.Errorf("extract %s: %w", i.File, err)
			}
			close(ready[n])
			return nil
		})
	}
	return g.Wait()
}

func boolToInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// decompress writes the data tar of a .deb to the file at target. The machine's own dpkg-deb does
// it, for its speed: which bytes come out does not depend on who decompresses.
func decompress(ctx context.Context, deb, target string) error {
	f, err := os.Create(target)
	if err != nil {
		return err
	}
	defer f.Close()
	return dpkgDeb(ctx, f, "--fsys-tarfile", deb)
}

func dpkgDeb(ctx context.Context, out io.Writer, args ...string) error {
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, "dpkg-deb", args...)
	cmd.Stdout, cmd.Stderr = out, &stderr
	switch err := cmd.Run(); {
	case errors.Is(err, exec.ErrNotFound):
		return errors.New("dpkg-deb is not installed: install the Debian package dpkg")
	case err != nil:
		return fmt.Errorf("%s: %w: %s", cmd, err, bytes.TrimSpace(stderr.Bytes()))
	}
	return nil
}

// unpackFile unpacks a tar and removes it.
func unpackFile(name, root string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := archive.Unpack(f, root); err != nil {
		return err
	}
	return os.Remove(name)
}

// waves returns the packages in groups, each to be unpacked after the groups before it are
// configured: a package whose Pre-Depends are not configured may not even be unpacked, because its
// preinst relies on them. Within a group, packages are sorted by file name.
func (p *packages) waves(ctx context.Context) ([][]installed, error) {
	needs := make(map[string]relations, len(p.list))
	for _, i := range p.list {
		var control bytes.Buffer
		if err := dpkgDeb(ctx, &control, "--field", p.path(i), "Pre-Depends", "Depends"); err != nil {
			return nil, err
		}
		needs[i.Name] = parseRelations(control.String())
	}
	return sortWaves(p.list, needs), nil
}

// sortWaves puts a package behind everything that its Pre-Depends need to be configured.
func sortWaves(list []installed, needs map[string]relations) [][]installed {
	before := make(map[string]map[string]bool, len(list))
	for _, i := range list {
		before[i.Name] = configuredBefore(i.Name, needs)
	}
	var waves [][]installed
	for len(list) > 0 {
		var wave, rest []installed
		for _, i := range list {
			if slices.ContainsFunc(list, func(other installed) bool { return before[i.Name][other.Name] }) {
				rest = append(rest, i)
			} else {
				wave = append(wave, i)
			}
		}
		if len(wave) == 0 { // a circle, which Debian's policy forbids: dpkg will say more
			return append(waves, rest)
		}
		waves, list = append(waves, wave), rest
	}
	return waves
}

// configuredBefore returns the names of what must be configured before the package is unpacked: its
// Pre-Depends, all that these depend on, and so on.
func configuredBefore(name string, needs map[string]relations) map[string]bool {
	before := make(map[string]bool)
	var visit func(names []string)
	visit = func(names []string) {
		for _, n := range names {
			if !before[n] && n != name {
				before[n] = true
				visit(needs[n].preDepends)
				visit(needs[n].depends)
			}
		}
	}
	visit(needs[name].preDepends)
	return before
}

// relations are the names of the packages that one needs, of every alternative.
type relations struct{ preDepends, depends []string }

// relationName matches a package's name at the start of one alternative of a relation.
var relationName = regexp.MustCompile(`(?:^|[,|])\s*([a-z0-9][a-z0-9+.-]*)`)

// parseRelations reads the two fields of a control file, such as "Depends: a (>= 1), b | c:any".
func parseRelations(control string) relations {
	names := make(map[string][]string)
	for line := range strings.Lines(control) {
		field, value, _ := strings.Cut(line, ":")
		for _, m := range relationName.FindAllStringSubmatch(value, -1) {
			names[field] = append(names[field], m[1])
		}
	}
	return relations{preDepends: names["Pre-Depends"], depends: names["Depends"]}
}
