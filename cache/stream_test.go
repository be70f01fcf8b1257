package cache

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/rcbops/rpcbuild/store"
)

// TestBlobStream reads contents of all kinds of sizes in pieces of all kinds of sizes.
func TestBlobStream(t *testing.T) {
	st, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	contents := []string{"", "a", strings.Repeat("b", 7), "", strings.Repeat("c", 8), strings.Repeat("d", 9), "last"}
	var blobs []store.Blob
	for _, c := range contents {
		b := store.HashBlob([]byte(c))
		if err := st.PutBlob(t.Context(), strings.NewReader(c), b); err != nil {
			t.Fatal(err)
		}
		blobs = append(blobs, b)
	}
	all := func(piece int) (string, error) {
		s := &blobStream{ctx: t.Context(), store: st, blobs: blobs}
		defer s.Close()
		var got bytes.Buffer
		_, err := io.CopyBuffer(struct{ io.Writer }{&got}, s, make([]byte, piece))
		return got.String(), err
	}
	for piece := 1; piece < 20; piece++ {
		if got, err := all(piece); err != nil || got != strings.Join(contents, "") {
			t.Errorf("in pieces of %d bytes: %q, %v", piece, got, err)
		}
	}
	name := st.BlobPath(blobs[4])
	for what, damaged := range map[string]string{"cut short": "ccccccc", "longer": "ccccccccc", "much longer": strings.Repeat("c", 100), "changed": "cccxcccc", "empty": ""} {
		if err := errors.Join(os.Remove(name), os.WriteFile(name, []byte(damaged), 0o444)); err != nil {
			t.Fatal(err)
		}
		for piece := 1; piece < 20; piece++ {
			got, err := all(piece)
			var wrong *store.DigestError
			if !errors.As(err, &wrong) || wrong.What != name || strings.Contains(got, "d") {
				t.Errorf("%s, in pieces of %d bytes: %q, %v", what, piece, got, err)
			}
		}
	}
}
