package sandbox

import (
	"io"
	"os"
	"time"
)

// follower copies a growing file.
type follower struct {
	quit, done chan struct{}
}

// follow copies what is written to the file at name to w, until stop. A file, and not a pipe, takes
// a program's output because the program may outlive the reader of a pipe.
func follow(name string, w io.Writer) *follower {
	f := &follower{quit: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(f.done)
		file, err := os.Open(name)
		if err != nil {
			return
		}
		defer file.Close()
		for {
			io.Copy(w, file)
			select {
			case <-f.quit:
				io.Copy(w, file)
				return
			case <-time.After(100 * time.Millisecond):
			}
		}
	}()
	return f
}

// stop copies what is left and ends the copy.
func (f *follower) stop() {
	close(f.quit)
	<-f.done
}
