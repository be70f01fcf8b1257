package cache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
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

// Check says of each item whether rpc-repo has it, from the list of the newest generation: at most
// two requests. An item whose Artifact is zero may have any. A deep check reads and verifies every
// byte of the items, and everything that is published of them.
//
// Nothing is built or written. The error wraps [ErrUnreachable] if rpc-repo does not answer.
func (r *Repo) Check(ctx context.Context, items []Item, deep bool) ([]Verdict, error) {
	known, err := r.newest(ctx)
	if err != nil {
		return nil, err
	}
	verdicts := make([]Verdict, len(items))
	c := &checker{Repo: r, blobs: make(map[store.Blob]*blobCheck)}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(r.opts.Jobs)
	for i, it := range items {
		rows := known.rows.of(it.Drv)
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

// checker is one deep check. Content that items share is read once.
type checker struct {
	*Repo
	mu    sync.Mutex
	blobs map[store.Blob]*blobCheck
}

type blobCheck struct {
	once sync.Once
	err  error
}

// item returns nil if all of an item is there and right.
func (c *checker) item(ctx context.Context, it Item) error {
	if _, err := c.statement(ctx, it.hint()); err != nil {
		return err
	}
	if _, err := c.derivation(ctx, it.Drv); err != nil {
		return err
	}
	m, err := c.manifest(ctx, it.Artifact)
	if err != nil {
		return err
	}
	for _, e := range m.Entries {
		if e.HasContent() {
			if err := c.blob(ctx, e.Blob(), packed(m, e)); err != nil {
				return fmt.Errorf("%s: %w", e.Path, err)
			}
		}
	}
	for _, pub := range m.Publish {
		if err := c.publication(ctx, m, pub); err != nil {
			return err
		}
	}
	for _, l := range m.Lines {
		b, err := c.read(ctx, l.File, indexLimit)
		if err != nil {
			return err
		}
		if !strings.Contains("\n"+string(b), "\n"+l.Line+"\n") {
			return c.wrong(l.File, fmt.Errorf("the line for %s is not in it", l.Key))
		}
	}
	return nil
}

func (c *checker) blob(ctx context.Context, b store.Blob, packed bool) error {
	c.mu.Lock()
	check, ok := c.blobs[b]
	if !ok {
		check = &blobCheck{}
		c.blobs[b] = check
	}
	c.mu.Unlock()
	check.once.Do(func() {
		check.err = c.transfer(ctx, func() error {
			body, path, err := c.openBlob(ctx, b, packed, nil)
			if err != nil {
				return err
			}
			defer body.Close()
			return c.blame(path, body, verify(ctx, body, b, path))
		})
	})
	return check.err
}

func (c *checker) publication(ctx context.Context, m *store.Manifest, pub store.Publication) error {
	if pub.Link != "" {
		_, err := c.backend.Stat(ctx, pub.Path)
		return err
	}
	e, _ := m.Lookup(pub.File)
	state, err := c.compare(ctx, pub.Path, e.Blob())
	switch {
	case err != nil:
		return err
	case state == Missing:
		return fmt.Errorf("published path %s: %w", pub.Path, fs.ErrNotExist)
	case state == Wrong:
		return c.wrong(pub.Path, errors.New("other content is published there"))
	case pub.Sign == "":
		return nil
	}
	text, err := c.read(ctx, pub.Path, envelopeLimit)
	if err != nil {
		return err
	}
	return c.checkEnvelopes(ctx, pub.Path, text)
}

// compare says whether the file at path has the content b.
func (r *Repo) compare(ctx context.Context, path string, b store.Blob) (state State, err error) {
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
		if size >= 0 && size != b.Size {
			state = Wrong
			return nil
		}
		state, err = compareContent(ctx, body, b, path)
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
