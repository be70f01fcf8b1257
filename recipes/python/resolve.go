package python

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/rcbops/rpcbuild/derive/download"
)

// A Resolver asks the index what a definition means.
type Resolver struct {
	// Chroot returns the folder of the unpacked build chroot, with pip in it. It is asked only when
	// something is to be resolved.
	Chroot func(context.Context) (string, error)
	// Scratch is an empty folder, for its owner to remove. It must be where overlays can be.
	Scratch    string
	RecipesDir string
	Client     *download.Client
	// Log takes what pip and the build backends say.
	Log io.Writer
}

// requests is how many pages of the index are read side by side.
const requests = 12

// Resolve returns the lock of a definition. What old, which may be nil, holds is kept as far as the
// definition still allows it, but for the projects that update names. It needs root, LXC and the
// network: build backends of upstream run in the sandbox to say what they need.
func (r *Resolver) Resolve(ctx context.Context, d *Definition, old *Lock, update []string) (*Lock, error) {
	if old == nil {
		old = &Lock{}
	} else if len(update) == 0 && old.Check(d, r.RecipesDir) == nil {
		return old, nil
	}
	lock, err := r.resolve(ctx, d, old, update)
	if err != nil {
		return nil, fmt.Errorf("resolve python: %w", err)
	}
	return lock, nil
}

func (r *Resolver) resolve(ctx context.Context, d *Definition, old *Lock, update []string) (_ *Lock, err error) {
	constraints, err := d.readConstraints(r.RecipesDir)
	if err != nil {
		return nil, err
	}
	sum, err := d.constraintsDigest(r.RecipesDir)
	if err != nil {
		return nil, err
	}
	config, err := readPipConfig()
	if err != nil {
		return nil, err
	}
	if config.Index != "" {
		config.Index = r.Client.URL(config.Index)
	}
	if err := os.MkdirAll(r.Scratch, 0o755); err != nil {
		return nil, err
	}
	chroot, err := r.Chroot(ctx)
	if err != nil {
		return nil, err
	}
	pip, err := openPipBox(r.Scratch, chroot, config, r.Log)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, pip.close()) }()
	s := &resolution{
		def: d, constraints: strings.Split(strings.TrimSpace(string(constraints)), "\n"), pip: pip, client: r.Client,
		index: newIndex(r.Client, config, pip.defaultIndex), old: old, update: make(map[string]bool),
		lock: &Lock{Constraints: sum, BuildConstraints: d.BuildConstraints, Binary: d.Binary, Pure: d.Pure, Venvs: make(map[string]VenvLock)},
		have: make(map[string]bool), tools: make(map[string]*toolSet),
	}
	for _, name := range update {
		s.update[normalize(name)] = true
	}
	chosen, err := s.venvs(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.packages(ctx, chosen); err != nil {
		return nil, err
	}
	s.lock.sort()
	return s.lock, s.lock.check()
}

// A resolution is one call of Resolve.
type resolution struct {
	def         *Definition
	constraints []string
	pip         *pipBox
	client      *download.Client
	index       *Index
	old         *Lock
	update      map[string]bool // normalized names

	lock  *Lock
	have  map[string]bool     // ids of packages in lock
	tools map[string]*toolSet // by requirements
}

// venvs resolves each virtual environment, and returns everything that they hold.
func (s *resolution) venvs(ctx context.Context) ([]choice, error) {
	var all []choice
	for _, name := range sortedKeys(s.def.Venvs) {
		requirements := s.def.Venvs[name].Requirements
		rep, err := s.venv(ctx, name, requirements)
		if err != nil {
			return nil, fmt.Errorf("venv %s: %w", name, err)
		}
		s.lock.Python = rep.Python
		s.lock.Venvs[name] = VenvLock{Requirements: requirements, Packages: rep.ids()}
		all = append(all, rep.Choices...)
	}
	return all, nil
}

// venv asks pip for a set in which what is locked already and not bound by the constraints stays at
// its version. Where that can no longer be, the set is free.
func (s *resolution) venv(ctx context.Context, name string, requirements []string) (*report, error) {
	bound := make(map[string]bool)
	for _, c := range s.constraints {
		bound[normalize(leadingName(c))] = true
	}
	var keep []string
	for _, id := range s.old.Venvs[name].Packages {
		if p, ok := s.old.Package(id); ok && !bound[p.Name] && !s.update[p.Name] {
			keep = append(keep, id)
		}
	}
	return s.resolveKeeping(ctx, requirements, s.constraints, keep, "")
}

func (s *resolution) resolveKeeping(ctx context.Context, requirements, constraints, keep []string, venv string) (*report, error) {
	if len(keep) > 0 {
		rep, err := s.pip.resolve(ctx, requirements, slices.Concat(constraints, keep), venv)
		if err == nil || ctx.Err() != nil {
			return rep, err
		}
		fmt.Fprintf(s.pip.log, "what the lock has does not fit any more: %v\n", err)
	}
	return s.pip.resolve(ctx, requirements, constraints, venv)
}

// packages puts chosen packages into the lock, then what they need to be built, then what that
// needs, until nothing is new.
func (s *resolution) packages(ctx context.Context, chosen []choice) error {
	for tool := false; len(chosen) > 0; tool = true {
		fresh := s.fresh(chosen)
		found, err := s.files(ctx, fresh, tool)
		if err != nil {
			return err
		}
		if chosen, err = s.requires(ctx, found); err != nil {
			return err
		}
		s.lock.Packages = append(s.lock.Packages, found...)
	}
	return nil
}

// fresh returns the packages that are not in the new lock yet, after it took from the old one what
// can be kept.
func (s *resolution) fresh(chosen []choice) []choice {
	var fresh []choice
	for _, c := range chosen {
		if s.have[c.id()] {
			continue
		}
		if p, ok := s.old.Package(c.id()); ok && s.keeps(p) {
			s.take(p)
			continue
		}
		s.have[c.id()] = true
		fresh = append(fresh, c)
	}
	return fresh
}

// keeps reports whether the definition would still come to what the old lock has of a package.
func (s *resolution) keeps(p Package) bool {
	binary, pure := names(s.def.Binary, p.Name), names(s.def.Pure, p.Name)
	switch {
	case s.update[p.Name], pure != names(s.old.Pure, p.Name), binary != names(s.old.Binary, p.Name):
		return false
	case p.Build && !slices.Equal(s.old.BuildConstraints, s.def.BuildConstraints):
		return false
	}
	return !slices.ContainsFunc(p.Requires, func(id string) bool {
		r, _ := s.old.Package(id)
		return !s.keeps(r)
	})
}

// take copies a package, and what it is built with, from the old lock.
func (s *resolution) take(p Package) {
	if s.have[p.ID()] {
		return
	}
	s.have[p.ID()] = true
	s.lock.Packages = append(s.lock.Packages, p)
	for _, id := range p.Requires {
		if r, ok := s.old.Package(id); ok {
			s.take(r)
		}
	}
}

// files decides which file stands for each package.
func (s *resolution) files(ctx context.Context, chosen []choice, tool bool) ([]Package, error) {
	found := make([]Package, len(chosen))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(requests)
	for i, c := range chosen {
		g.Go(func() error {
			p, err := s.file(ctx, c, tool)
			if err != nil {
				return fmt.Errorf("package %s: %w", c.id(), err)
			}
			found[i] = p
			return nil
		})
	}
	return found, g.Wait()
}

// file takes a wheel that is pure or, where the definition says so, compiled by upstream, and
// otherwise the source. A tool, which no service holds, is taken as a pure wheel where there is one,
// even if it would be faster compiled.
func (s *resolution) file(ctx context.Context, c choice, tool bool) (p Package, err error) {
	p = Package{Name: c.Name, Version: c.Version, Build: isSource(c.File)}
	if p.Build || isPureWheel(c.File) || names(s.def.Binary, c.Name) {
		p.File, err = s.index.lookup(ctx, c.Name, c.File, c.SHA256)
		return p, err
	}
	pure := names(s.def.Pure, c.Name)
	if tool || pure {
		f, ok, err := s.index.pureWheel(ctx, c.Name, c.Version)
		if ok || err != nil {
			p.File = f
			return p, err
		}
	}
	p.Build, p.Compiled = true, !pure
	p.File, err = s.index.source(ctx, c.Name, c.Version)
	return p, err
}

// leadingName returns the project's name that a requirement or constraint begins with.
func leadingName(requirement string) string {
	end := strings.IndexFunc(requirement, func(r rune) bool { return strings.ContainsRune(" [<>=!~;", r) })
	if end < 0 {
		return requirement
	}
	return requirement[:end]
}

func (r *report) ids() []string {
	ids := make(map[string]bool)
	for _, c := range r.Choices {
		ids[c.id()] = true
	}
	return slices.Sorted(maps.Keys(ids))
}
