package faulttest

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"syscall"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// launchVariable tells a test binary that it is to start the program that its arguments name.
const launchVariable = "FAULTTEST_LAUNCH"

// Main does nothing, but in a process that [Run] started: there it asks the kernel to stop the process
// at calls that touch files, hands over the descriptor that tells of them, and becomes the program.
func Main() {
	if os.Getenv(launchVariable) == "" {
		return
	}
	os.Unsetenv(launchVariable)
	err := launch()
	fmt.Fprintln(os.Stderr, "faulttest:", err)
	os.Exit(125)
}

// socket is the descriptor that a launched process has of the one that launches it.
const socket = 3

func launch() error {
	runtime.LockOSThread() // the filter is the thread's, and that of what it executes
	debug.SetGCPercent(-1)
	listener, err := install()
	if err != nil {
		return err
	}
	if err := unix.Sendmsg(socket, []byte{0}, unix.UnixRights(listener), nil, 0); err != nil {
		return fmt.Errorf("hand over the listener: %w", err)
	}
	unix.CloseOnExec(listener)
	unix.CloseOnExec(socket)
	return syscall.Exec(os.Args[1], os.Args[2:], os.Environ())
}

// install makes the thread stop at each of kinds.
func install() (listener int, err error) {
	// struct seccomp_data: the number, 12 bytes more, six arguments of 8 bytes. A mapping of memory that is
	// no file's is what Go's runtime makes at any time, also here before anybody listens.
	program := []bpf.Instruction{
		bpf.LoadAbsolute{Off: 0, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.SYS_MMAP, SkipTrue: 3},
		bpf.LoadAbsolute{Off: 16 + 8*3, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpBitsNotSet, Val: unix.MAP_ANONYMOUS, SkipTrue: 1},
		bpf.RetConstant{Val: unix.SECCOMP_RET_ALLOW},
		bpf.LoadAbsolute{Off: 0, Size: 4},
	}
	for _, k := range kinds {
		program = append(program,
			bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(k.nr), SkipTrue: 1},
			bpf.RetConstant{Val: unix.SECCOMP_RET_USER_NOTIF})
	}
	raw, err := bpf.Assemble(append(program, bpf.RetConstant{Val: unix.SECCOMP_RET_ALLOW}))
	if err != nil {
		return -1, err
	}
	filter := unix.SockFprog{Len: uint16(len(raw)), Filter: (*unix.SockFilter)(unsafe.Pointer(&raw[0]))}
	// A call that waits for its verdict must not be interrupted by the signals of Go's scheduler: it
	// would be made, and counted, again.
	const flags = unix.SECCOMP_FILTER_FLAG_NEW_LISTENER | unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
	seccomp := func() (uintptr, syscall.Errno) {
		fd, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, uintptr(unsafe.Pointer(&filter)))
		return fd, errno
	}
	fd, errno := seccomp()
	if errno == unix.EACCES { // without root, only who gives up ever getting more privileges may do it
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return -1, err
		}
		fd, errno = seccomp()
	}
	if errno != 0 {
		return -1, fmt.Errorf("ask the kernel to tell of system calls: %w", errno)
	}
	return int(fd), nil
}
