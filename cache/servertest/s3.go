package servertest

import (
	"os"
	"os/exec"
	"path/filepath"
)

// S3 is versitygw, which keeps buckets as folders. It has one, which is called bucket.
type S3 struct {
	Address string
	Dir     string // of the bucket
}

// What AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY must be for an [S3].
const S3Key, S3Secret = "test-key", "test-secret-key"

// StartS3 starts an S3 server that keeps its bucket in dir.
func StartS3(t T, dir string) *S3 {
	t.Helper()
	bin := program(t, "versitygw", "make deps-test builds it")
	s := &S3{Dir: filepath.Join(dir, "bucket")}
	check(t, os.MkdirAll(s.Dir, 0o755))
	s.Address, _ = start(t, func(address string) *exec.Cmd {
		cmd := exec.Command(bin, "--port", address, "--access", S3Key, "--secret", S3Secret, "--quiet", "posix", dir)
		cmd.Dir = t.TempDir()
		return cmd
	})
	return s
}

// URL returns the URL of a repo below prefix in the bucket.
func (s *S3) URL(prefix string) string {
	return "s3://bucket/" + prefix + "?endpoint=http://" + s.Address + "&region=us-east-1"
}
