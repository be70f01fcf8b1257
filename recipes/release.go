package recipes

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"

	"github.com/rcbops/rpcbuild/derive"
	"github.com/rcbops/rpcbuild/recipes/apt"
	"github.com/rcbops/rpcbuild/recipes/container"
	"github.com/rcbops/rpcbuild/recipes/git"
	"github.com/rcbops/rpcbuild/recipes/python"
	"github.com/rcbops/rpcbuild/recipes/spec"
)

// Kinds returns every builder that there is.
func Kinds() []derive.Kind {
	return slices.Concat(apt.Kinds(), git.Kinds(), python.Kinds(), container.Kinds())
}

// A Release is a definition with its lock.
type Release struct {
	Name       string
	Definition *Definition
	// Lock is nil while the release has none.
	Lock *Lock
	// Dir is the recipes folder, LockPath the lock's file in it.
	Dir, LockPath string
}

// Load reads a release from the recipes folder dir. What is wrong with a file is a
// [*spec.FileError].
func Load(dir, name string) (*Release, error) {
	d, err := readDefinition(dir, name)
	if err != nil {
		return nil, err
	}
	r := &Release{Name: name, Definition: d, Dir: dir, LockPath: filepath.Join(dir, releasesDir, name+".lock")}
	if r.Lock, err = readLock(r.LockPath); err != nil {
		return nil, err
	}
	if r.Lock != nil && r.Lock.Release != name {
		return nil, &spec.FileError{File: r.LockPath, Msg: fmt.Sprintf("it is the lock of release %q", r.Lock.Release)}
	}
	return r, nil
}

// The stages of a release, as --only names them.
var Stages = []string{"apt", "git", "python", "container"}

// Upstreams tell where content that a lock pins can be had. They are asked only when something
// must be fetched.
type Upstreams struct {
	// Archive returns the URL of a mirror's archive.
	Archive func(apt.Mirror) (string, error)
	// PythonIndex finds files in the Python index.
	PythonIndex *python.Index
}

// Graph returns the graph of the release's artifacts, as its lock pins them. only, if not empty,
// lists the stages whose artifacts are goals, or single nodes by name.
func (r *Release) Graph(up Upstreams, only ...string) (*derive.Graph, error) {
	if r.Lock == nil {
		return nil, &spec.FileError{File: r.LockPath, Msg: "the release has no lock", Hint: "make it with rpcbuild lock " + r.Name}
	}
	w := newWiring(r, up)
	if err := w.wire(); err != nil {
		return nil, &spec.FileError{File: r.LockPath, Msg: err.Error(), Hint: "rpcbuild lock " + r.Name + " brings it up to date"}
	}
	var all []*derive.Node
	for _, stage := range Stages {
		all = append(all, w.goals[stage]...)
	}
	if len(only) == 0 {
		return derive.NewGraph(all...)
	}
	if w.base != nil {
		all = append(all, w.base) // no goal needs it where apt is the only stage
	}
	g, err := derive.NewGraph(all...)
	if err != nil {
		return nil, err
	}
	var some []*derive.Node
	for _, name := range only {
		n := g.Node(name)
		switch {
		case slices.Contains(Stages, name):
			some = append(some, w.goals[name]...)
		case n != nil:
			some = append(some, n)
		default:
			return nil, &spec.FileError{File: "--only", Msg: fmt.Sprintf("unknown stage or artifact %q", name), Hint: spec.Suggest(name, Stages)}
		}
	}
	return derive.NewGraph(some...)
}

// wiring connects the kinds of one release.
type wiring struct {
	*Release
	up    Upstreams
	goals map[string][]*derive.Node // by stage

	apt      *apt.Nodes
	resolved *derive.Node // the base chroot's packages
	base     *derive.Node // the base chroot
}

func newWiring(r *Release, up Upstreams) *wiring {
	return &wiring{Release: r, up: up, goals: make(map[string][]*derive.Node)}
}

func (r *Release) spec() spec.Release {
	return spec.Release{Name: r.Name, Distribution: r.Definition.Distribution, URL: r.Definition.URL, Time: r.Lock.Time.Unix()}
}

// wire makes the nodes of all stages.
func (w *wiring) wire() error {
	d := w.Definition
	if err := w.wireApt(); err != nil {
		return err
	}
	if w.base == nil && (d.Git != nil || d.Python != nil || d.Container != nil) {
		return errors.New("git, python and container artifacts are built from the integrated apt repository, and apt.integrated is empty")
	}
	if d.Git != nil {
		if err := w.wireGit(); err != nil {
			return err
		}
	}
	var venvs map[string]*derive.Node
	if d.Python != nil {
		var err error
		if venvs, err = w.wirePython(); err != nil {
			return err
		}
	}
	if d.Container != nil {
		w.wireContainer(venvs)
	}
	return nil
}

// wireApt makes the nodes of the apt stage, and of the base chroot.
func (w *wiring) wireApt() error {
	d := w.Definition
	var err error
	w.apt, err = d.Apt.Nodes(w.Lock.Apt, w.spec(), func(mirror string) (string, error) {
		return w.up.Archive(d.Apt.Mirrors[mirror])
	})
	if err != nil {
		return err
	}
	for _, dest := range slices.Sorted(maps.Keys(w.apt.Independent)) {
		w.goals["apt"] = append(w.goals["apt"], w.apt.Independent[dest])
	}
	if w.apt.Integrated != nil {
		w.goals["apt"] = append(w.goals["apt"], w.apt.Integrated)
		w.resolved = apt.ResolveNode("resolve/base", w.apt.Integrated, apt.Query{Essential: true, Packages: d.Chroots.Base}, nil)
		w.base = container.Chroot("chroot/base", w.resolved, nil)
	}
	return nil
}

func (w *wiring) wireGit() error {
	if w.Lock.Git == nil {
		return errors.New("the lock has no git section")
	}
	release, err := w.Definition.Git.Nodes(w.Lock.Git, w.spec(), w.Dir, w.chroot("git", []string{"git"}))
	w.goals["git"] = append(w.goals["git"], release)
	return err
}

func (w *wiring) wirePython() (venvs map[string]*derive.Node, err error) {
	if w.Lock.Python == nil {
		return nil, errors.New("the lock has no python section")
	}
	var gitNames []string
	if w.Definition.Git != nil {
		gitNames = slices.Sorted(maps.Keys(w.Definition.Git.Repositories))
	}
	nodes, err := w.Definition.Python.Nodes(w.Lock.Python, w.spec(), w.buildChroot(), gitNames, w.up.PythonIndex.Locator)
	if err != nil {
		return nil, err
	}
	w.goals["python"] = append(w.goals["python"], nodes.Release)
	return nodes.Venvs, nil
}

// wireContainer makes the image of the default container, and those of the roles on top of it.
func (w *wiring) wireContainer(venvs map[string]*derive.Node) {
	d := w.Definition.Container
	resolved := apt.ResolveNode("resolve/default", w.apt.Integrated, apt.Query{Essential: true, Packages: d.Default.Packages}, nil)
	base := container.Chroot("chroot/default", resolved, nil)
	// A chroot a program, so that an update of one does not make the other's work be done again.
	xz := w.chroot("xz", []string{"xz-utils"})
	var like *derive.Node // the image whose compressed chunks the others share
	for _, role := range d.Roles() {
		v := d.Role(role)
		added := apt.ResolveNode("resolve/"+role+"-role", w.apt.Integrated, apt.Query{Packages: v.Packages}, resolved)
		inside := make(map[string]*derive.Node)
		for _, name := range v.Venvs {
			inside[name] = venvs[name]
		}
		c := container.Container(role, v, w.spec(), w.Lock.SigningKey, base, added, inside)
		image := container.Image(role, w.spec(), c, xz, like)
		if like == nil {
			like = image
		}
		w.goals["container"] = append(w.goals["container"], image)
	}
}

// chroot returns the node of a root file system on top of the base.
func (w *wiring) chroot(name string, packages []string) *derive.Node {
	added := apt.ResolveNode("resolve/"+name, w.apt.Integrated, apt.Query{Packages: packages}, w.resolved)
	return container.Chroot("chroot/"+name, added, w.base)
}

func (w *wiring) buildChroot() *derive.Node { return w.chroot("build", w.Definition.Python.Packages) }
