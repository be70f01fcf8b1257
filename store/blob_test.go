package store

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestBlobs(t *testing.T) {
	s := open(t)
	want := HashBlob([]byte("content"))
	if _, err := s.ReadBlob(want); !errors.Is(err, ErrNotFound) {
		t.Errorf("ReadBlob: %v", err)
	}
	if _, err := s.OpenBlob(want); !errors.Is(err, ErrNotFound) {
		t.Errorf("OpenBlob: %v", err)
	}
	for range 2 {
		if err := s.PutBlob(context.Background(), strings.NewReader("content"), want); err != nil {
			t.Fatal(err)
		}
	}
	if b, err := s.ReadBlob(want); err != nil || string(b) != "content" {
		t.Errorf("got %q, %v", b, err)
	}
	fi, err := os.Stat(s.BlobPath(want))
	if err != nil || fi.Mode() != 0o444 {
		t.Errorf("got %v, %v", fi, err)
	}
	if s.HasBlob(Blob{want.Digest, 3}) {
		t.Error("a blob of another size is there")
	}
	flip(t, s.BlobPath(want), 2)
	var damaged *DigestError
	if _, err := s.ReadBlob(want); !errors.As(err, &damaged) {
		t.Errorf("damaged: %v", err)
	}
}

func TestPutBlobRefuses(t *testing.T) {
	s := open(t)
	want := HashBlob([]byte("content"))
	for name, content := range map[string]string{"other": "CONTENT", "short": "cont", "long": "content and more", "nothing": ""} {
		err := s.PutBlob(context.Background(), strings.NewReader(content), want)
		var wrong *DigestError
		if !errors.As(err, &wrong) || wrong.Want != want || !strings.Contains(err.Error(), want.Digest.String()) {
			t.Errorf("%s: %v", name, err)
		}
	}
	endless := endlessReader{}
	if err := s.PutBlob(context.Background(), &endless, want); err == nil || endless.n > 1<<20 {
		t.Errorf("endless: %v after %d bytes", err, endless.n)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := s.PutBlob(ctx, strings.NewReader("content"), want); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	broken := io.MultiReader(strings.NewReader("cont"), errReader{})
	if err := s.PutBlob(context.Background(), broken, want); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("broken: %v", err)
	}
	if s.HasBlob(want) {
		t.Error("something was stored")
	}
	if left, _ := os.ReadDir(s.session.Name()); len(left) != 0 {
		t.Errorf("temporary files are left: %v", left)
	}
}

type endlessReader struct{ n int }

func (r *endlessReader) Read(p []byte) (int, error) { r.n += len(p); return len(p), nil }

type errReader struct{}

func (errReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func TestAdoptBlob(t *testing.T) {
	s := open(t)
	want := HashBlob([]byte("content"))
	name := s.PartialPath(want)
	write := func(content string) {
		t.Helper()
		if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("cont")
	var wrong *DigestError
	if err := s.AdoptBlob(name, want); !errors.As(err, &wrong) || wrong.What != name {
		t.Errorf("wrong content: %v", err)
	}
	if _, err := os.Stat(name); err != nil {
		t.Errorf("it did not stay: %v", err)
	}
	for range 2 {
		write("content")
		if err := s.AdoptBlob(name, want); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(name); err == nil {
			t.Error("it stayed")
		}
	}
	if err := s.AdoptBlob(filepath.Join(t.TempDir(), "none"), want); err == nil {
		t.Error("a missing file was adopted")
	}
}
