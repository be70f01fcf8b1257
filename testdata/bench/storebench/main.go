// Storebench makes a store of many objects and measures what grows with their number.
//
//	storebench generate DIR N    makes a store of N objects: for each artifact, its manifest, derivation
//	                             and statement, and two blobs; 95 of 100 are in the root of a release
//	storebench lookup DIR        asks for derivations and artifacts, 200 at once
//	storebench mark DIR          finds out what gc would remove
//	storebench reindex DIR       makes the index anew
//
// Each prints its seconds and the most memory that it had.
package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/rcbops/rpcbuild/store"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "storebench:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) < 2 {
		return fmt.Errorf("usage: storebench generate DIR N | lookup DIR | mark DIR | reindex DIR")
	}
	s, err := store.Open(args[1])
	if err != nil {
		return err
	}
	defer s.Close()
	ctx, start := context.Background(), time.Now()
	switch {
	case args[0] == "generate" && len(args) == 3:
		n, convErr := strconv.Atoi(args[2])
		if convErr != nil {
			return convErr
		}
		err = generate(ctx, s, n/5)
	case args[0] == "lookup":
		err = lookup(s)
	case args[0] == "mark":
		var r store.GCReport
		r, err = s.GC(ctx, store.GCOptions{Keep: 3, DryRun: true})
		fmt.Printf("garbage %+v\n", r.Removed)
	case args[0] == "reindex":
		var r store.ReindexStats
		r, err = s.Reindex(ctx)
		fmt.Printf("rows %+v\n", r)
	default:
		err = fmt.Errorf("unknown command %v", args)
	}
	var usage syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	fmt.Printf("%s: %.2f s, %d MB\n", args[0], time.Since(start).Seconds(), usage.Maxrss>>10)
	return err
}

// generate writes files as the store would, without making each durable.
func generate(ctx context.Context, s *store.Store, artifacts int) error {
	items := make([]store.RootItem, artifacts)
	var g errgroup.Group
	workers := runtime.GOMAXPROCS(0)
	for w := range workers {
		g.Go(func() error {
			for i := w; i < artifacts; i += workers {
				var err error
				if items[i], err = generateOne(s.Dir(), i); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if _, err := s.Reindex(ctx); err != nil {
		return err
	}
	return s.AddRoot(ctx, store.Root{Release: "bench", Lock: digest.FromString("bench"), Time: time.Now(), Items: items[:artifacts*95/100]})
}

func generateOne(dir string, i int) (store.RootItem, error) {
	it := store.RootItem{Name: "item/" + strconv.Itoa(i)}
	m := &store.Manifest{}
	for j := range 2 {
		content := fmt.Appendf(nil, "content %d of artifact %d", j, i)
		b := store.HashBlob(content)
		m.Entries = append(m.Entries, store.Entry{Path: fmt.Sprint("file", j), Type: store.File, Digest: b.Digest, Size: b.Size})
		if err := write(dir, "blob", b.Digest.Encoded(), content); err != nil {
			return it, err
		}
	}
	manifest, err := m.Encode()
	if err != nil {
		return it, err
	}
	derivation := fmt.Appendf(nil, `{"schema":1,"kind":"bench","builder":"1","platform":"linux/amd64","params":{"n":%d},"inputs":{}}`, i)
	it.Drv, it.Artifact = store.HashDrv(derivation), store.HashArtifact(manifest)
	st, err := store.NewStatement(store.Realisation{Drv: it.Drv, Artifact: it.Artifact, Builder: "bench", Tool: "bench", Time: time.Unix(1e9, 0).UTC(), Size: m.Size()}, nil)
	if err != nil {
		return it, err
	}
	if err := write(dir, "artifact", it.Artifact.String(), manifest); err != nil {
		return it, err
	}
	if err := write(dir, "derivation", it.Drv.String(), derivation); err != nil {
		return it, err
	}
	text := st.Encode()
	realisation := filepath.Join(dir, "realisation", it.Drv.String())
	if err := os.MkdirAll(realisation, 0o755); err != nil {
		return it, err
	}
	return it, os.WriteFile(filepath.Join(realisation, it.Artifact.String()), append(text, digest.FromBytes(text).Encoded()+"\n"...), 0o444)
}

func write(dir, kind, name string, content []byte) error {
	sub := filepath.Join(dir, kind, name[:2])
	if err := os.MkdirAll(sub, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(sub, name[2:]), content, 0o444)
}

// lookup asks as realize does: for the derivations of a release, and whether what they gave is here.
func lookup(s *store.Store) error {
	roots, err := s.Roots()
	if err != nil || len(roots) == 0 {
		return fmt.Errorf("roots: %d, %w", len(roots), err)
	}
	const at, rounds = 200, 50
	items := roots[0].Items
	for _, what := range []string{"first", "again"} { // the first time, each is touched
		random := rand.New(rand.NewPCG(1, 2))
		start := time.Now()
		for range rounds {
			drvs, ids := make([]store.DrvID, at), make([]store.ArtifactID, at)
			for i := range at {
				it := items[random.IntN(len(items))]
				drvs[i], ids[i] = it.Drv, it.Artifact
			}
			found, err := s.Lookup(drvs)
			if err != nil {
				return err
			}
			has, err := s.HasAll(ids)
			if err != nil {
				return err
			}
			if len(found) < at-5 || len(has) < at-5 {
				return fmt.Errorf("found %d, has %d of %d", len(found), len(has), at)
			}
		}
		fmt.Printf("%s: %.1f µs for a lookup of a derivation and its artifact\n", what, float64(time.Since(start).Microseconds())/(at*rounds))
	}
	return nil
}
