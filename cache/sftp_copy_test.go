package cache

import (
	"bytes"
	"encoding/binary"
	"io"
	"math"
	"testing"

	"golang.org/x/crypto/ssh"
)

// Whatever a server answers, a copier returns, and takes no more memory than an answer may have.
func FuzzSFTPCopier(f *testing.F) {
	for _, answer := range []any{sftpHandle{Handle: "h"}, sftpStatus{}, sftpStatus{Code: 2, Message: "no"}, sftpVersion{Version: 3}} {
		body := ssh.Marshal(answer)
		f.Add(append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...))
	}
	f.Add(binary.BigEndian.AppendUint32(nil, math.MaxUint32))
	f.Fuzz(func(t *testing.T, answer []byte) {
		c := &sftpCopier{in: io.Discard, out: bytes.NewReader(answer)}
		var h sftpHandle
		if c.ask(sftpOpen{Name: "f"}, &h) == nil && len(h.Handle) > len(answer) {
			t.Error("a handle of more bytes than came")
		}
		c.out = bytes.NewReader(answer)
		if c.ask(sftpCopyData{}, nil) == nil && answer[4] != sftpStatusType {
			t.Error("what is no status was taken for success")
		}
	})
}

// The parts of an upload are the content, in order, and none but the last is too short.
func FuzzS3Parts(f *testing.F) {
	f.Add(int64(50<<20), int64(3<<20), int64(20<<20), int64(1<<20), int64(9<<20))
	f.Add(int64(6<<20), int64(0), int64(5<<20), int64(0), int64(1<<20))
	f.Fuzz(func(t *testing.T, size, gap1, size1, gap2, size2 int64) {
		const most = 8 << 30
		for _, n := range []int64{size, gap1, size1, gap2, size2} {
			if n < 0 || n > most {
				return
			}
		}
		spans := []Span{{gap1, size1, "a", 7}, {gap1 + size1 + gap2, size2, "b", 0}}
		if spans[1].Offset+size2 > size {
			return
		}
		var end int64
		parts := s3Parts(size, spans)
		for i, p := range parts {
			if p.Offset != end || p.Size <= 0 || p.Size < s3PartMin && i < len(parts)-1 {
				t.Fatalf("part %d of %d is %+v, after %d bytes", i, len(parts), p, end)
			}
			for _, s := range spans {
				if p.Path == s.Path && (p.Offset < s.Offset || p.Offset+p.Size > s.Offset+s.Size || p.From-s.From != p.Offset-s.Offset) {
					t.Fatalf("part %+v is not of span %+v", p, s)
				}
			}
			end += p.Size
		}
		if end != size {
			t.Fatalf("the parts end at %d of %d bytes", end, size)
		}
	})
}
