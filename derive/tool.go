package derive

import (
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rcbops/rpcbuild/derive/sandbox"
)

// Tool returns what [Engine.Tool] says: the program and its version, and what of this machine its
// builds run on, such as "rpcbuild v1.2.0, go1.26.8, Linux 6.1.0-31-amd64 x86_64, LXC 5.0.2". None of
// it is to change what is built; where it does all the same, this is where to look first.
func Tool(program string) string {
	parts := []string{program, runtime.Version()}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		parts = append(parts, strings.Join([]string{
			unix.ByteSliceToString(u.Sysname[:]), unix.ByteSliceToString(u.Release[:]), unix.ByteSliceToString(u.Machine[:]),
		}, " "))
	}
	if v := sandbox.Version(); v != "" {
		parts = append(parts, "LXC "+v)
	}
	return strings.Join(parts, ", ")
}
