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
// [*DefinitionError].
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
		return nil, &DefinitionError{File: r.LockPath, Msg: fmt.Sprintf("it is the lock of release %q", r.Lock.Release)}
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

// Graph returns the graph of the release's artifacts, as its lock pins them; only, if not empty,
// lists the stages whose artifacts are goals.
func (r *Release) Graph(up Upstreams, only ...string) (*derive.Graph, error) {
	if r.Lock == nil {
		return nil, &DefinitionError{File: r.LockPath, Msg: "the release has no lock", Hint: "make it with rpcbuild lock " + r.Name}
	}
	for _, stage := range only {
		if !slices.Contains(Stages, stage) {
			return nil, &DefinitionError{File: "--only", Msg: fmt.Sprintf("unknown stage %q", stage), Hint: spec.Suggest(stage, Stages)}
		}
	}
	w := &wiring{Release: r, up: up}
	goals, err := w.goals()
	if err != nil {
		return nil, &DefinitionError{File: r.LockPath, Msg: err.Error(), Hint: "rpcbuild lock " + r.Name + " brings it up to date"}
	}
	var wanted []*derive.Node
	for _, stage := range Stages {
		if len(only) == 0 || slices.Contains(only, stage) {
			wanted = append(wanted, goals[stage]...)
		}
	}
	return derive.NewGraph(wanted...)
}

// wiring connects the kinds of one release.
type wiring struct {
	*Release
	up       Upstreams
	apt      *apt.Nodes
	resolved *derive.Node // the base chroot's packages
	base     *derive.Node // the base chroot
}

func (r *Release) spec() spec.Release {
	return spec.Release{Name: r.Name, Distribution: r.Definition.Distribution, URL: r.Definition.URL, Time: r.Lock.Time.Unix()}
}

// goals returns the goals of each stage.
func (w *wiring) goals() (map[string][]*derive.Node, error) {
	d, rel := w.Definition, w.spec()
	if err := w.wireApt(); err != nil {
		return nil, err
	}
	goals := make(map[string][]*derive.Node)
	if w.apt.Integrated != nil {
		goals["apt"] = append(goals["apt"], w.apt.Integrated)
	}
	for _, dest := range slices.Sorted(maps.Keys(w.apt.Independent)) {
		goals["apt"] = append(goals["apt"], w.apt.Independent[dest])
	}
	if w.base == nil {
		return goals, nil
	}
	tools := w.chroot("tools", d.Chroots.Tools)
	_, gitRelease, err := d.Git.Nodes(w.Lock.Git, rel, tools)
	if err != nil {
		return nil, err
	}
	goals["git"] = append(goals["git"], gitRelease)
	gitNames := slices.Sorted(maps.Keys(d.Git.Repositories))
	py, err := d.Python.Nodes(w.Lock.Python, rel, w.buildChroot(), w.up.PythonIndex.Locator, gitNames)
	if err != nil {
		return nil, err
	}
	goals["python"] = append(goals["python"], py.Release)
	goals["container"], err = w.images(tools, py.Venvs)
	return goals, err
}

// wireApt makes the nodes of the apt stage and of the base chroot.
func (w *wiring) wireApt() error {
	d := w.Definition
	if w.Lock.Apt == nil {
		return errors.New("the lock has no apt section")
	}
	var err error
	w.apt, err = d.Apt.Nodes(w.Lock.Apt, w.spec(), func(mirror string) (string, error) {
		return w.up.Archive(d.Apt.Mirrors[mirror])
	})
	if err != nil || w.apt.Integrated == nil {
		return err
	}
	w.resolved = apt.ResolveNode("resolve/base", w.apt.Integrated, apt.Query{Essential: true, Packages: d.Chroots.Base}, nil)
	w.base = container.Chroot("chroot/base", w.resolved, nil)
	return nil
}

// packages returns the node of what packages add to the base.
func (w *wiring) packages(name string, packages []string) *derive.Node {
	return apt.ResolveNode("resolve/"+name, w.apt.Integrated, apt.Query{Packages: packages}, w.resolved)
}

// chroot returns the node of a root file system on top of the base.
func (w *wiring) chroot(name string, packages []string) *derive.Node {
	return container.Chroot("chroot/"+name, w.packages(name, packages), w.base)
}

func (w *wiring) buildChroot() *derive.Node { return w.chroot("build", w.Definition.Python.Packages) }

// images returns the nodes of all images, the base's first.
func (w *wiring) images(tools *derive.Node, venvs map[string]*derive.Node) ([]*derive.Node, error) {
	var images []*derive.Node
	var like *derive.Node
	for _, role := range append([]string{container.Default}, w.Definition.Container.Roles()...) {
		v := w.Definition.Container.Role(role)
		inside := make(map[string]*derive.Node)
		for _, name := range v.Venvs {
			inside[name] = venvs[name]
		}
		c := container.Container(role, v, w.spec(), w.Lock.SigningKey, w.base, w.packages("container-"+role, v.Packages), inside)
		image := container.Image(role, w.spec(), c, tools, like)
		if like == nil {
			like = image
		}
		images = append(images, image)
	}
	return images, nil
}
