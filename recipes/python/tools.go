package python

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

//go:embed scripts/declared.py
var declaredScript string

//go:embed scripts/asked.py
var askedScript string

// A toolSet is what some requirements of builds come to.
type toolSet struct {
	report *report
	venv   string // inside; empty if the set is not installed
}

// A project is what the pyproject.toml of a source archive declares.
type project struct {
	Root     string   `json:"root"` // inside
	Requires []string `json:"requires"`
	Backend  string   `json:"backend"`
	Path     []string `json:"path"`
}

// requires finds out what the packages that are to be built need for it, sets their Requires, and
// returns what they need.
func (s *resolution) requires(ctx context.Context, found []Package) ([]choice, error) {
	if err := s.fetchSources(ctx, found); err != nil {
		return nil, err
	}
	projects, err := s.declared(ctx)
	if err != nil {
		return nil, err
	}
	var all []choice
	for i := range found {
		p := &found[i]
		if !p.Build {
			continue
		}
		set, err := s.toolsOf(ctx, projects[p.File.Name])
		if err != nil {
			return nil, fmt.Errorf("requirements to build %s: %w", p.ID(), err)
		}
		p.Requires = set.report.ids()
		all = append(all, set.report.Choices...)
	}
	return all, nil
}

// systemPath is where the chroot has its programs.
const systemPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

const sourcesDir = "archives"

func (s *resolution) fetchSources(ctx context.Context, found []Package) error {
	dir := filepath.Join(s.pip.dir, sourcesDir)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, p := range found {
		if !p.Build {
			continue
		}
		blob, err := p.File.blob()
		if err != nil {
			return err
		}
		urls, err := s.index.Locator(p.Name, p.File.Name, p.File.SHA256)(ctx)
		if err != nil {
			return err
		}
		if err := s.client.File(ctx, urls, filepath.Join(dir, p.File.Name), blob, nil); err != nil {
			return fmt.Errorf("fetch %s: %w", p.File.Name, err)
		}
	}
	return nil
}

// declared unpacks the archives that came since the last call.
func (s *resolution) declared(ctx context.Context) (map[string]project, error) {
	if err := s.pip.write("declared.py", declaredScript); err != nil {
		return nil, err
	}
	err := s.pip.run(ctx, nil, "python3", boxDir+"/declared.py", boxDir+"/"+sourcesDir, boxDir+"/sources", boxDir+"/declared")
	if err != nil {
		return nil, err
	}
	b, err := s.pip.read("declared")
	if err != nil {
		return nil, err
	}
	var projects map[string]project
	if err := json.Unmarshal(b, &projects); err != nil {
		return nil, fmt.Errorf("read what projects declare: %w", err)
	}
	return projects, nil
}

// toolsOf returns what a project is built with: what it declares, and what its backend, which runs
// with that, asks for.
func (s *resolution) toolsOf(ctx context.Context, p project) (*toolSet, error) {
	set, err := s.toolSet(ctx, p.Requires, true)
	if err != nil {
		return nil, err
	}
	if err := s.pip.write("asked.py", askedScript); err != nil {
		return nil, err
	}
	args := append([]string{set.venv + "/bin/python3", boxDir + "/asked.py", p.Root, p.Backend, boxDir + "/asked"}, p.Path...)
	if err := s.pip.run(ctx, []string{"PATH=" + set.venv + "/bin:" + systemPath}, args...); err != nil {
		return nil, err
	}
	b, err := s.pip.read("asked")
	if err != nil {
		return nil, err
	}
	var asked []string
	if err := json.Unmarshal(b, &asked); err != nil {
		return nil, fmt.Errorf("read what %s asks for: %w", p.Backend, err)
	}
	if len(asked) == 0 {
		return set, nil
	}
	return s.toolSet(ctx, slices.Concat(p.Requires, asked), false)
}

// toolSet resolves requirements of builds, once for all projects that have the same.
func (s *resolution) toolSet(ctx context.Context, requirements []string, install bool) (*toolSet, error) {
	sorted := slices.Compact(slices.Sorted(slices.Values(requirements)))
	key := strings.Join(sorted, "\n")
	if set := s.tools[key]; set != nil && (set.venv != "" || !install) {
		return set, nil
	}
	set := &toolSet{report: &report{}}
	if install {
		set.venv = fmt.Sprintf("%s/venv%d", boxDir, len(s.tools))
		if err := s.pip.run(ctx, nil, "python3", "-m", "venv", "--without-pip", set.venv); err != nil {
			return nil, err
		}
	}
	if len(sorted) > 0 {
		var err error
		if set.report, err = s.resolveKeeping(ctx, sorted, s.def.BuildConstraints, s.keptTools(), set.venv); err != nil {
			return nil, err
		}
	}
	s.tools[key] = set
	return set, nil
}

// keptTools are constraints that hold tools at the versions that the old lock has.
func (s *resolution) keptTools() []string {
	versions := make(map[string][]string) // ids by name
	for _, p := range s.old.Packages {
		for _, id := range p.Requires {
			r, _ := s.old.Package(id)
			if !s.update[r.Name] && !slices.Contains(versions[r.Name], id) {
				versions[r.Name] = append(versions[r.Name], id)
			}
		}
	}
	var keep []string
	for _, name := range sortedKeys(versions) {
		if ids := versions[name]; len(ids) == 1 {
			keep = append(keep, ids[0])
		}
	}
	return keep
}
