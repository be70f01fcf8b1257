package cache

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/rcbops/rpcbuild/store"
)

// State is what became of an item in rpc-repo.
type State string

// The states.
const (
	Present State = "present"
	Missing State = "missing"
	Wrong   State = "wrong" // there, and not what it should be
)

// A Verdict is what [Repo.Check] found out about an item.
type Verdict struct {
	Item   Item
	State  State
	Reason string // why it is not present
}

// Check says of each item whether rpc-repo has it, from the list of the generation that was read last, or
// of the newest one if that lacks an item: at most two requests. An item whose Artifact is zero may have any. A deep check reads and verifies every
// byte of the items, and everything that is published of them.
//
// Nothing is built or written. The error wraps [ErrUnreachable] if rpc-repo does not answer.
func (r *Repo) Check(ctx context.Context, items []Item, deep bool) ([]Verdict, error) {
	known := r.held()
	if slices.ContainsFunc(items, func(it Item) bool { return len(known.of(it.Drv)) == 0 }) {
		var err error
		if known, err = r.newest(ctx); err != nil {
			return nil, err
		}
	}
	verdicts := make([]Verdict, len(items))
	// What a bundle holds is also there by itself, and that is what counts.
	c := &checker{Repo: newRepo(r.backend, Options{Jobs: r.opts.Jobs, Trust: r.opts.Trust}), known: known, checks: make(map[string]*check)}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(r.opts.Jobs)
	for i, it := range items {
		rows := known.of(it.Drv)
		verdicts[i] = listed(rows, it)
		if !deep || verdicts[i].State != Present {
			continue
		}
		g.Go(func() (err error) {
			it.Artifact = chosen(rows, it)
			verdicts[i], err = judge(it, c.item(ctx, it))
			return err
		})
	}
	return verdicts, g.Wait()
}

// listed says what the rows of an item's derivation say of it.
func listed(rows []row, it Item) Verdict {
	switch {
	case len(rows) == 0:
		return Verdict{it, Missing, "nobody pushed what this derivation gives"}
	case chosen(rows, it).IsZero():
		return Verdict{it, Wrong, fmt.Sprintf("its derivation gave artifact %s there, and %s here", rows[0].artifact.Short(), it.Artifact.Short())}
	default:
		return Verdict{it, Present, ""}
	}
}

// chosen returns the artifact that an item means, or zero if no row has it.
func chosen(rows []row, it Item) store.ArtifactID {
	for _, row := range rows {
		if it.Artifact.IsZero() || row.artifact == it.Artifact {
			return row.artifact
		}
	}
	return store.ArtifactID{}
}

// judge turns what a deep check met into a verdict. Only what says nothing about the item is an
// error.
func judge(it Item, err error) (Verdict, error) {
	switch {
	case err == nil:
		return Verdict{it, Present, ""}, nil
	case errors.Is(err, ErrUnreachable), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return Verdict{it, Missing, err.Error()}, err
	case errors.Is(err, store.ErrNotFound), errors.Is(err, fs.ErrNotExist):
		return Verdict{it, Missing, err.Error()}, nil
	default:
		return Verdict{it, Wrong, err.Error()}, nil
	}
}

// checker is one deep check. What items share is read once.
type checker struct {
	*Repo
	known  *snapshot
	mu     sync.Mutex
	checks map[string]*check // by path
}

type check struct {
	once sync.Once
	err  error
}

// item returns nil if all of an item is there and right.
func (c *checker) item(ctx context.Context, it Item) error {
	if _, err := c.statement(ctx, entry{hint: it.hint()}); err != nil {
		return err
	}
	if err := c.bundled(ctx, c.known.find(it.hint())); err != nil {
		return err
	}
	if _, err := c.derivation(ctx, it.hint()); err != nil {
		return err
	}
	m, err := c.manifest(ctx, it.Artifact)
	if err != nil {
		return err
	}
	for _, b := range published(m) {
		if err := c.blob(ctx, b); err != nil {
			return fmt.Errorf("%s: %w", nameOf(m, b), err)
		}
	}
	if err := c.stream(ctx, it.Artifact, m); err != nil {
		return err
	}
	for _, pub := range m.Publish {
		if err := c.publication(ctx, m, pub); err != nil {
			return err
		}
	}
	for _, l := range m.Lines {
		if err := c.line(ctx, l); err != nil {
			return err
		}
	}
	return nil
}

// line checks that a shared index has a line, in both forms, or the one of an artifact that replaced this one.
func (c *checker) line(ctx context.Context, l store.Line) error {
	text, err := c.read(ctx, l.File, indexLimit)
	if err != nil {
		return err
	}
	ours, err := c.read(ctx, indexPath(l.File), indexLimit)
	if err != nil {
		return err
	}
	ix, err := parseIndex(ours)
	if err != nil {
		return c.wrong(indexPath(l.File), err)
	}
	has := func(l store.Line) bool {
		return ix[l.Key] == l.Line && strings.Contains("\n"+string(text), "\n"+l.Line+"\n")
	}
	if has(l) {
		return nil
	}
	replaced, err := c.replaced(ctx, func(m *store.Manifest) (bool, error) {
		return slices.ContainsFunc(m.Lines, func(o store.Line) bool { return o.File == l.File && o.Key == l.Key && has(o) }), nil
	})
	if err != nil || !replaced {
		return errors.Join(err, c.wrong(l.File, fmt.Errorf("the line for %s is not in it", l.Key)))
	}
	return nil
}

// bundled checks the bundles that speak of an item. One that is not there costs time, and is not wrong.
func (c *checker) bundled(ctx context.Context, e entry) error {
	for _, ref := range []bundleRef{e.statements, e.metadata} {
		if ref == (bundleRef{}) {
			continue
		}
		err := c.once(bundlePath(ref), func() error {
			_, err := c.bundle(ctx, ref, false)
			return err
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// replaced reports whether another artifact on the list, such as the one of a newer lock, has what this one
// had in the consumers' tree: by says so of its manifest.
func (c *checker) replaced(ctx context.Context, by func(*store.Manifest) (bool, error)) (bool, error) {
	for _, row := range c.known.rows {
		m, err := c.manifest(ctx, row.artifact)
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err != nil {
			return false, err
		}
		if yes, err := by(m); yes || err != nil {
			return yes, err
		}
	}
	return false, nil
}

// once checks a path, unless that was done.
func (c *checker) once(path string, fn func() error) error {
	c.mu.Lock()
	done, ok := c.checks[path]
	if !ok {
		done = &check{}
		c.checks[path] = done
	}
	c.mu.Unlock()
	done.once.Do(func() { done.err = fn() })
	return done.err
}

func (c *checker) blob(ctx context.Context, b store.Blob) error {
	path := blobPath(b)
	return c.once(path, func() error {
		pieces, err := c.listedPieces(ctx, b)
		if err != nil {
			return err
		}
		return c.transfer(ctx, func() error {
			body, err := c.openBlob(ctx, b, nil)
			if err != nil {
				return err
			}
			defer body.Close()
			compare := &pieceComparer{pieces: pieces, hash: sha256.New()}
			if err := c.blame(path, verify(ctx, io.TeeReader(body, compare), b, path)); err != nil {
				return err
			}
			if compare.differs {
				return c.wrong(cutsPath(b), errors.New("it says of a piece that it is another"))
			}
			return nil
		})
	})
}

func (c *checker) publication(ctx context.Context, m *store.Manifest, pub store.Publication) error {
	state, err := c.state(ctx, m, pub)
	switch {
	case err != nil:
		return err
	case state == Missing:
		return fmt.Errorf("published path %s: %w", pub.Path, fs.ErrNotExist)
	case state == Wrong:
		file := cmp.Or(pub.Link, pub.Path) // a copy of a link's target does not follow when that is replaced
		replaced, err := c.replaced(ctx, func(m *store.Manifest) (bool, error) {
			for _, o := range m.Publish {
				if e, ok := m.Lookup(o.File); ok && o.Path == file {
					state, err := c.compare(ctx, pub.Path, e.Blob())
					return state == Present, err
				}
			}
			return false, nil
		})
		if err != nil || !replaced {
			return errors.Join(err, c.wrong(pub.Path, errors.New("other content is published there")))
		}
		return nil
	case pub.Sign == "":
		return nil
	}
	text, err := c.read(ctx, pub.Path, envelopeLimit)
	if err != nil {
		return err
	}
	return c.checkEnvelopes(ctx, pub.Path, text)
}

// state says whether what is published has the content that a manifest wants there.
func (r *Repo) state(ctx context.Context, m *store.Manifest, pub store.Publication) (State, error) {
	if pub.Link != "" {
		return r.compareLink(ctx, pub.Path, pub.Link)
	}
	e, _ := m.Lookup(pub.File)
	return r.compare(ctx, pub.Path, e.Blob())
}

// compare says whether the file at path has the content b.
func (r *Repo) compare(ctx context.Context, path string, b store.Blob) (State, error) {
	return r.compareWith(ctx, path, func(body io.Reader, size int64) (State, error) {
		if size >= 0 && size != b.Size {
			return Wrong, nil
		}
		return compareContent(ctx, body, b, path)
	})
}

// compareLink says whether the file at path has the content of target. It may be a copy: S3 has no links, and
// a copied tree may have lost them.
func (r *Repo) compareLink(ctx context.Context, path, target string) (State, error) {
	return r.compareWith(ctx, path, func(body io.Reader, size int64) (State, error) {
		want, wantSize, err := r.backend.Get(ctx, target)
		if err != nil {
			return Wrong, err
		}
		defer want.Close()
		if size >= 0 && wantSize >= 0 && size != wantSize {
			return Wrong, nil
		}
		if same, err := sameBytes(body, want); err != nil || !same {
			return Wrong, err
		}
		return Present, nil
	})
}

// compareWith opens the file at path for fn to compare. A file that is not there is missing.
func (r *Repo) compareWith(ctx context.Context, path string, fn func(body io.Reader, size int64) (State, error)) (state State, err error) {
	err = r.transfer(ctx, func() error {
		body, size, err := r.backend.Get(ctx, path)
		if errors.Is(err, fs.ErrNotExist) {
			state = Missing
			return nil
		}
		if err != nil {
			return err
		}
		defer body.Close()
		state, err = fn(body, size)
		return err
	})
	return state, err
}

func compareContent(ctx context.Context, r io.Reader, b store.Blob, what string) (State, error) {
	err := verify(ctx, r, b, what)
	var differs *store.DigestError
	if errors.As(err, &differs) {
		return Wrong, nil
	}
	return Present, err
}
