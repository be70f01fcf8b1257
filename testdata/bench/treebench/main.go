// Command treebench adds a tree of files to a store, and pushes and pulls it: what `make bench` times
// where rpcbuild itself takes releases only.
//
//	treebench generate DIR FILES BYTES    make the tree, from this machine's /usr
//	treebench add STORE DIR               print the artifact's id
//	treebench push STORE REPO ID          print how much was uploaded
//	treebench pull REPO STORE
package main

import (
	"context"
	"fmt"
	"os"
	"runtime/pprof"
	"time"

	"github.com/rcbops/rpcbuild/cache"
	"github.com/rcbops/rpcbuild/store"
)

func main() {
	if err := run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "treebench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	stop, err := profile(os.Getenv("CPUPROFILE"))
	if err != nil {
		return err
	}
	defer stop()
	switch {
	case len(args) == 4 && args[0] == "generate":
		return generate(args[1], args[2], args[3])
	case len(args) == 3 && args[0] == "add":
		return add(ctx, args[1], args[2])
	case len(args) == 4 && args[0] == "push":
		return push(ctx, args[1], args[2], args[3])
	case len(args) == 3 && args[0] == "pull":
		return pull(ctx, args[1], args[2])
	}
	return fmt.Errorf("unknown arguments %q (see main.go)", args)
}

// profile writes a CPU profile, if a file is named.
func profile(name string) (stop func(), err error) {
	if name == "" {
		return func() {}, nil
	}
	f, err := os.Create(name)
	if err != nil {
		return nil, err
	}
	return func() { pprof.StopCPUProfile(); f.Close() }, pprof.StartCPUProfile(f)
}

func add(ctx context.Context, storeDir, dir string) error {
	st, err := store.Open(storeDir)
	if err != nil {
		return err
	}
	defer st.Close()
	id, err := st.AddFolder(ctx, dir)
	if err != nil {
		return err
	}
	m, err := st.Manifest(id)
	if err != nil {
		return err
	}
	it, err := item(st, id)
	if err != nil {
		return err
	}
	fmt.Println(id)
	return st.AddRealisation(store.Realisation{
		Drv: it.Drv, Artifact: id, Builder: "treebench", Tool: "treebench", Time: time.Unix(0, 0).UTC(), Seconds: 1, Size: m.Size(),
	}, nil)
}

// item makes of a tree in the store what a push takes: the artifact of a derivation.
func item(st *store.Store, id store.ArtifactID) (cache.Item, error) {
	drv, err := st.PutDerivation(fmt.Appendf(nil, "{%q:%q}", "tree", id))
	if err != nil {
		return cache.Item{}, err
	}
	return cache.Item{Name: "tree/" + id.String()[:12], Kind: "tree", Drv: drv, Artifact: id}, err
}

func push(ctx context.Context, storeDir, repo, name string) error {
	id, err := store.ParseArtifactID(name)
	if err != nil {
		return err
	}
	st, err := store.Open(storeDir)
	if err != nil {
		return err
	}
	defer st.Close()
	it, err := item(st, id)
	if err != nil {
		return err
	}
	r, err := cache.Open(repo, cache.Options{Create: true})
	if err != nil {
		return err
	}
	defer r.Close()
	stats, err := r.Push(ctx, st, release(it), cache.PushOptions{})
	fmt.Printf("%+v\n", stats)
	return err
}

func release(it cache.Item) cache.Release {
	return cache.Release{Name: "tree", Lock: []byte("tree\n"), Items: []cache.Item{it}}
}

func pull(ctx context.Context, repo, storeDir string) error {
	st, err := store.Open(storeDir)
	if err != nil {
		return err
	}
	defer st.Close()
	r, err := cache.Open(repo, cache.Options{})
	if err != nil {
		return err
	}
	defer r.Close()
	rel, err := r.Release(ctx, "tree")
	if err != nil {
		return err
	}
	stats, err := r.Pull(ctx, st, rel, nil)
	fmt.Printf("%+v\n", stats)
	return err
}
