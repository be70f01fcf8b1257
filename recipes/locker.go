package recipes

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/rcbops/rpcbuild/derive"
	"github.com/rcbops/rpcbuild/recipes/apt"
	"github.com/rcbops/rpcbuild/recipes/git"
	"github.com/rcbops/rpcbuild/recipes/python"
	"github.com/rcbops/rpcbuild/recipes/spec"
)

// A Locker resolves upstreams into locks.
type Locker struct {
	Apt    *apt.Resolver
	Git    *git.Resolver
	Python *python.Resolver
	// Engine builds the chroot that Python requirements are resolved in.
	Engine    *derive.Engine
	Upstreams Upstreams
	// SigningKey returns the armored public key for a lock that has none yet.
	SigningKey func() (string, error)
}

// A Change is something that moved between two locks. From is empty for what is new, To for what
// is gone.
type Change struct {
	Kind string `json:"kind"`
	Name string `json:"name"`
	From string `json:"from,omitempty"`
	To   string `json:"to,omitempty"`
}

func (c Change) String() string {
	switch {
	case c.From == "":
		return fmt.Sprintf("%s %s: new, %s", c.Kind, c.Name, c.To)
	case c.To == "":
		return fmt.Sprintf("%s %s: gone, was %s", c.Kind, c.Name, c.From)
	default:
		return fmt.Sprintf("%s %s: %s -> %s", c.Kind, c.Name, c.From, c.To)
	}
}

// Lock resolves the release, writes its lock, and says what moved. What a lock that is there pins
// stays as far as the definition still asks for it; update lists what moves all the same: "all", a
// stage (apt, git, python), or the name of a mirror, a repository or a Python package.
// What is wrong with the definition is a [*spec.FileError].
func (l *Locker) Lock(ctx context.Context, r *Release, update []string) ([]Change, error) {
	changes, err := l.resolve(ctx, r, update)
	var wrong *spec.Error
	if !errors.As(err, &wrong) {
		return changes, err
	}
	file := definitionFile(r.Dir, r.Name)
	content, _ := os.ReadFile(file) // without it the error has no line
	return nil, spec.Locate(file, content, err)
}

func (l *Locker) resolve(ctx context.Context, r *Release, update []string) ([]Change, error) {
	d, old := r.Definition, r.Lock
	fresh := old == nil
	if fresh {
		old = &Lock{}
	}
	if err := checkNames(d, old, update); err != nil {
		return nil, err
	}
	next := &Lock{Schema: lockSchema, Release: r.Name, Time: old.Time, SigningKey: old.SigningKey}
	var err error
	if next.SigningKey == "" {
		if next.SigningKey, err = l.SigningKey(); err != nil {
			return nil, fmt.Errorf("signing key: %w", err)
		}
	}
	if next.Apt, err = l.Apt.Resolve(ctx, &d.Apt, old.Apt, moved(update, "apt", d.Apt.Mirrors)); err != nil {
		return nil, err
	}
	if fresh || slices.Contains(update, everything) {
		if next.Time, err = newest(next.Apt); err != nil {
			return nil, err
		}
	}
	if d.Git != nil {
		if next.Git, err = l.Git.Resolve(ctx, d.Git, old.Git, moved(update, "git", d.Git.Repositories)); err != nil {
			return nil, err
		}
	}
	if d.Python != nil {
		if next.Python, err = l.python(ctx, r, next, old, update); err != nil {
			return nil, err
		}
	}
	if err := next.write(r.LockPath); err != nil {
		return nil, err
	}
	r.Lock = next
	return compare(old, next), nil
}

// python resolves the Python requirements in the build chroot of the new lock.
func (l *Locker) python(ctx context.Context, r *Release, next, old *Lock, update []string) (*python.Lock, error) {
	resolver := *l.Python
	var err error
	if resolver.Scratch, err = l.Engine.Store.TempDir("lock"); err != nil {
		return nil, err
	}
	defer os.RemoveAll(resolver.Scratch)
	resolver.Chroot = func(ctx context.Context) (string, error) {
		locked := *r
		locked.Lock = next
		w := newWiring(&locked, l.Upstreams)
		if err := w.wireApt(); err != nil {
			return "", err
		}
		chroot := w.buildChroot()
		g, err := derive.NewGraph(chroot)
		if err != nil {
			return "", err
		}
		result, err := l.Engine.Realize(ctx, g)
		if err != nil {
			return "", err
		}
		return l.Engine.Unpacked(result.Nodes[chroot].Artifact)
	}
	return resolver.Resolve(ctx, r.Definition.Python, old.Python, moved(update, "python", old.items()["python"]))
}

// newest returns the date of the newest mirror.
func newest(l *apt.Lock) (time.Time, error) {
	var newest time.Time
	for name, m := range l.Mirrors {
		t, err := time.Parse(time.RFC1123, m.Date)
		if err != nil {
			return newest, fmt.Errorf("date of mirror %s: %w", name, err)
		}
		if t.After(newest) {
			newest = t
		}
	}
	return newest.UTC(), nil
}

// everything as a name of what moves stands for all that there is.
const everything = "all"

// moved returns which of the names of a stage move: those that update lists, or all of them if it
// lists the stage.
func moved[V any](update []string, stage string, names map[string]V) []string {
	var some []string
	for name := range names {
		if slices.Contains(update, everything) || slices.Contains(update, stage) || slices.Contains(update, name) {
			some = append(some, name)
		}
	}
	slices.Sort(some)
	return some
}

// checkNames refuses an update of what the release does not have.
func checkNames(d *Definition, old *Lock, update []string) error {
	known := []string{everything, "apt", "git", "python"}
	known = slices.AppendSeq(known, maps.Keys(d.Apt.Mirrors))
	if d.Git != nil {
		known = slices.AppendSeq(known, maps.Keys(d.Git.Repositories))
	}
	known = slices.AppendSeq(known, maps.Keys(old.items()["python"]))
	for _, u := range update {
		if !slices.Contains(known, u) {
			return &spec.FileError{File: "--update", Msg: fmt.Sprintf("unknown name %q", u), Hint: spec.Suggest(u, known)}
		}
	}
	return nil
}

// items returns what a lock pins: by kind, by name, what a person calls its version.
func (l *Lock) items() map[string]map[string]string {
	all := map[string]map[string]string{"apt": {}, "git": {}, "python": {}}
	if l.Apt != nil {
		for mirror, m := range l.Apt.Mirrors {
			versions := make(map[string][]string)
			for _, p := range m.Packages {
				name := mirror + " " + p.Name + ":" + p.Arch
				versions[name] = append(versions[name], p.Version)
			}
			for name, v := range versions {
				all["apt"][name] = strings.Join(v, ", ")
			}
		}
	}
	if l.Git != nil {
		for name, p := range l.Git.Repositories {
			all["git"][name] = p.Commit
		}
	}
	if l.Python != nil {
		for name, version := range l.Python.Versions() {
			all["python"][name] = version
		}
	}
	return all
}

// compare lists what moved, sorted by kind and name.
func compare(old, next *Lock) []Change {
	var changes []Change
	before, after := old.items(), next.items()
	for _, kind := range slices.Sorted(maps.Keys(after)) {
		names := slices.AppendSeq(slices.Collect(maps.Keys(before[kind])), maps.Keys(after[kind]))
		slices.Sort(names)
		for _, name := range slices.Compact(names) {
			if from, to := before[kind][name], after[kind][name]; from != to {
				changes = append(changes, Change{Kind: kind, Name: name, From: from, To: to})
			}
		}
	}
	return changes
}
