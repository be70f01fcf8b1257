// Package faulttest runs a program whose system calls fail when a test says so: the real program, on a
// real file system, with a disk that is full or broken at exactly one moment, or with a SIGKILL there.
//
// The kernel stops the program at each call that touches a file (seccomp's user notification) and
// asks the test what shall become of it. So calls are counted over all threads and child processes,
// and chosen by the path of their file, which strace's injection does not offer.
package faulttest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Call is a system call that the program is about to make.
type Call struct {
	Name  string   // such as "renameat"
	Paths []string // of its files, absolute
}

// A Verdict is what becomes of a call.
type Verdict struct {
	Errno syscall.Errno // the call is not made, and fails with this; 0 makes it
	Kill  bool          // the call is not made, and the program is killed
}

// Run starts the program and waits for its end, like cmd.Run. decide is asked about each call that
// has to do with a file below dir, one at a time; the program stands still meanwhile. The program and
// its child processes are a process group of their own, which Kill ends. The end of cmd's context is a SIGQUIT first.
//
// The test binary's TestMain must call [Main] first.
func Run(cmd *exec.Cmd, dir string, decide func(Call) Verdict) error {
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return err
	}
	listener, err := start(cmd)
	if err != nil {
		return fmt.Errorf("start %s to make its calls fail: %w", cmd.Path, err)
	}
	defer unix.Close(listener)
	s := &supervisor{listener: listener, below: dir, decide: decide, group: cmd.Process.Pid}
	ended, watched := make(chan struct{}), make(chan error, 1)
	go func() { watched <- s.watch(ended) }()
	err = cmd.Wait()
	s.kill()
	close(ended)
	return errors.Join(err, <-watched)
}

type supervisor struct {
	listener int
	below    string
	decide   func(Call) Verdict
	group    int // of processes
}

// kill kills all processes of the program, if there are any.
func (s *supervisor) kill() error {
	if err := unix.Kill(-s.group, unix.SIGKILL); err != unix.ESRCH {
		return err
	}
	return nil
}

// notification and response are struct seccomp_notif and struct seccomp_notif_resp of the kernel.
type notification struct {
	id    uint64
	pid   uint32
	flags uint32
	nr    int32
	arch  uint32
	ip    uint64
	args  [6]uint64
}

type response struct {
	id    uint64
	value int64
	errno int32
	flags uint32
}

// watch answers the kernel until every process of the program is gone, or the program has ended and
// what it left asks nothing.
func (s *supervisor) watch(ended <-chan struct{}) error {
	for {
		fds := []unix.PollFd{{Fd: int32(s.listener), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, 100)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return fmt.Errorf("wait for a system call: %w", err)
		case fds[0].Revents&unix.POLLIN != 0:
			if err := s.answer(); err != nil {
				return err
			}
		case fds[0].Revents != 0:
			return nil
		case n == 0:
			select {
			case <-ended:
				return nil
			default:
			}
		}
	}
}

func (s *supervisor) answer() error {
	var n notification
	switch err := ioctl(s.listener, unix.SECCOMP_IOCTL_NOTIF_RECV, unsafe.Pointer(&n)); err {
	case 0:
	case unix.ENOENT, unix.EINTR: // who asked was killed meanwhile
		return nil
	default:
		return fmt.Errorf("receive a system call: %w", err)
	}
	r := response{id: n.id, flags: unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE}
	call := callOf(&n)
	for _, p := range call.Paths {
		if p != s.below && !strings.HasPrefix(p, s.below+"/") {
			continue
		}
		v := s.decide(call)
		if v.Kill {
			return s.kill()
		}
		if v.Errno != 0 {
			r.flags, r.errno = 0, -int32(v.Errno)
		}
		break
	}
	if err := ioctl(s.listener, unix.SECCOMP_IOCTL_NOTIF_SEND, unsafe.Pointer(&r)); err != 0 && err != unix.ENOENT {
		return fmt.Errorf("answer a system call: %w", err)
	}
	return nil
}

func ioctl(fd int, request uintptr, arg unsafe.Pointer) syscall.Errno {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(arg))
	return errno
}

// wait is how long a program that hangs has to say where.
const wait = 2 * time.Second

// start starts the program through [Main] and returns the descriptor that tells of its calls.
func start(cmd *exec.Cmd) (listener int, err error) {
	self, err := os.Executable()
	if err != nil {
		return -1, err
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "socket"), os.NewFile(uintptr(pair[1]), "socket")
	defer ours.Close()
	cmd.Args = append([]string{self, cmd.Path}, cmd.Args...)
	cmd.Path = self
	cmd.Env = append(cmd.Environ(), launchVariable+"=1")
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return cmd.Process.Signal(unix.SIGQUIT) } // a Go program then says where it hangs
	cmd.WaitDelay = wait
	err = cmd.Start()
	theirs.Close()
	if err != nil {
		return -1, err
	}
	if listener, err = receive(int(ours.Fd())); err != nil {
		return -1, errors.Join(err, cmd.Wait())
	}
	return listener, nil
}

// receive takes a descriptor out of a socket.
func receive(socket int) (int, error) {
	oob := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := unix.Recvmsg(socket, make([]byte, 1), oob, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return -1, err
	}
	messages, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil || len(messages) == 0 {
		return -1, errors.Join(errors.New("it did not come up to its first call"), err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) == 0 {
		return -1, errors.Join(errors.New("no descriptor came"), err)
	}
	return fds[0], nil
}
