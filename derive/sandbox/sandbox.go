// Package sandbox runs programs in an LXC container that sees a root file system, the folders that
// it was given, and nothing else of the machine: no network device, no host path, no other process.
//
// The container's users are the machine's, number by number, in a user namespace of their own: files
// keep their owners, and root inside has no power outside.
package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A Sandbox is a writable view of root file systems. It is used by one goroutine at a time. Its
// mounts belong to the mount namespace of the process that opened it: when that is a build's own,
// a crash leaves none behind.
type Sandbox struct {
	// Root is the view, on the host's side: what programs see as /.
	Root    string
	scratch string
}

// Open makes a sandbox with its changes in scratch, an empty folder, on top of lowers, the first
// of which is the uppermost. Without lowers the root is empty.
func Open(scratch string, lowers ...string) (*Sandbox, error) {
	s := &Sandbox{Root: filepath.Join(scratch, "root"), scratch: scratch}
	for _, d := range []string{"root", "upper", "work", "empty", ioDir} {
		if err := os.Mkdir(filepath.Join(scratch, d), 0o755); err != nil {
			return nil, fmt.Errorf("open sandbox: %w", err)
		}
	}
	if len(lowers) == 0 {
		lowers = []string{filepath.Join(scratch, "empty")}
	}
	// volatile: nobody reads this tree after a crash, so nothing need be synced. It halves the time of dpkg.
	options := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s,volatile",
		strings.Join(lowers, ":"), filepath.Join(scratch, "upper"), filepath.Join(scratch, "work"))
	if err := unix.Mount("overlay", s.Root, "overlay", 0, options); err != nil {
		return nil, fmt.Errorf("open sandbox: mount overlay at %s: %w (it needs root and overlayfs)", s.Root, err)
	}
	return s, nil
}

// Check reports what this program or machine lacks for sandboxes: LXC, root, or the programs of LXC.
func Check() error {
	if err := linked(); err != nil {
		return err
	}
	if os.Getuid() != 0 {
		return errors.New("a sandbox needs root: run as root, or name an rpc-repo that has the artifact with --repo")
	}
	for _, name := range []string{"/usr/sbin/init.lxc.static", "/sbin/init.lxc.static", "/usr/sbin/init.lxc", "/sbin/init.lxc"} {
		if _, err := os.Stat(name); err == nil {
			return nil
		}
	}
	return errors.New("a sandbox needs init.lxc: install the Debian package lxc")
}

// Close unmounts the view. The folder scratch stays, for its owner to remove.
func (s *Sandbox) Close() error {
	if err := unix.Unmount(s.Root, unix.MNT_DETACH); err != nil {
		return fmt.Errorf("close sandbox %s: %w", s.Root, err)
	}
	return nil
}

// A Command is a program to run in a sandbox.
type Command struct {
	Args []string // the program's path inside, or its name in PATH, and its arguments
	Env  []string // beside the fixed environment, and over it
	Dir  string   // working folder inside; / if empty
	// Binds are folders and files of the host that the program sees.
	Binds []Bind
	// Network gives the program the machine's own network. Only resolving a lock may ask for it.
	Network bool
	// Log takes standard output and standard error, while the program runs.
	Log io.Writer
}

// A Bind shows a host path inside, read-only unless Writable. The target is made if it is missing.
type Bind struct {
	Source   string `json:"source"`
	Target   string `json:"target"` // absolute, inside
	Writable bool   `json:"writable"`
}

// An ExitError says that the program ended with another status than 0.
type ExitError struct {
	Args   []string
	Status int
}

func (e *ExitError) Error() string {
	return fmt.Sprintf("%s: exit status %d", strings.Join(e.Args, " "), e.Status)
}

// environment is what every program sees, whatever the machine's own is.
func environment() []string {
	return []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=/root", "USER=root", "LOGNAME=root", "TERM=dumb",
		"LANG=C.UTF-8", "LC_ALL=C.UTF-8", "TZ=UTC",
		"DEBIAN_FRONTEND=noninteractive", "DEBCONF_NONINTERACTIVE_SEEN=true",
		"PYTHONHASHSEED=0", "PYTHONDONTWRITEBYTECODE=1",
	}
}

// ioDir is the folder, in scratch and at the same name inside, through which a program's status
// and output come out.
const ioDir = ".rpcbuild"

// The files of ioDir.
const (
	logFile    = "log"
	statusFile = "status"
)

// spec is what [Main] is told.
type spec struct {
	Name    string   `json:"name"`
	Root    string   `json:"root"`
	Scratch string   `json:"scratch"`
	Args    []string `json:"args"`
	Env     []string `json:"env"`
	Dir     string   `json:"dir"`
	Binds   []Bind   `json:"binds"`
	Network bool     `json:"network"`
}

// Run runs a program and waits for it, and for everything that it started. A status other than 0
// is an [*ExitError]. When ctx ends, everything inside is killed.
func (s *Sandbox) Run(ctx context.Context, c Command) error {
	io := filepath.Join(s.scratch, ioDir)
	for _, name := range []string{logFile, statusFile} {
		if err := os.WriteFile(filepath.Join(io, name), nil, 0o666); err != nil {
			return fmt.Errorf("run in sandbox: %w", err)
		}
	}
	b, err := json.Marshal(spec{
		Name: containerName(s.scratch), Root: s.Root, Scratch: s.scratch, Args: c.Args, Env: append(environment(), c.Env...),
		Dir: c.Dir, Network: c.Network,
		Binds: append([]Bind{{Source: io, Target: "/" + ioDir, Writable: true}}, c.Binds...),
	})
	if err != nil {
		return fmt.Errorf("run in sandbox: %w", err)
	}
	specPath := filepath.Join(s.scratch, "spec.json")
	if err := os.WriteFile(specPath, b, 0o644); err != nil {
		return fmt.Errorf("run in sandbox: %w", err)
	}
	runErr := s.runMain(ctx, specPath, c.Log)
	if err := os.RemoveAll(filepath.Join(s.Root, ioDir)); err != nil {
		return fmt.Errorf("run in sandbox: %w", err)
	}
	if runErr != nil {
		return fmt.Errorf("run in sandbox: %s: %w", strings.Join(c.Args, " "), runErr)
	}
	return exitStatus(filepath.Join(io, statusFile), c.Args)
}

// runMain calls Main in a process of its own, because liblxc forks, which a process full of
// threads must not.
func (s *Sandbox) runMain(ctx context.Context, specPath string, log io.Writer) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, self, "sandbox", specPath)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	if log == nil {
		log = io.Discard
	}
	follower := follow(filepath.Join(s.scratch, ioDir, logFile), log)
	out, err := cmd.CombinedOutput()
	follower.stop()
	Sweep(s.scratch) // liblxc puts its caller into a control group that it then cannot remove
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("%w: %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}

func exitStatus(name string, args []string) error {
	b, err := os.ReadFile(name)
	if err != nil {
		return fmt.Errorf("run in sandbox: %w", err)
	}
	status, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return fmt.Errorf("run in sandbox: %s: it was killed before it ended", strings.Join(args, " "))
	}
	if status != 0 {
		return &ExitError{Args: args, Status: status}
	}
	return nil
}

// containerName is unique among the containers that run: a build's folder is.
func containerName(scratch string) string {
	return "rpcbuild-" + strings.ReplaceAll(strings.TrimPrefix(scratch, "/"), "/", "-")
}

// Sweep removes what the kernel still holds of a sandbox with that scratch folder whose process
// was killed: empty control groups.
func Sweep(scratch string) {
	for _, dir := range groupDirs() {
		groups, _ := filepath.Glob(filepath.Join(dir, "lxc.*."+containerName(scratch)+"*"))
		for _, g := range groups {
			removeGroup(g)
		}
	}
}

// groupDirs returns the folders of this process's own control groups, one a hierarchy: liblxc makes
// those of containers in them. See cgroups(7) for /proc/self/cgroup.
func groupDirs() []string {
	const root = "/sys/fs/cgroup"
	content, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil
	}
	var dirs []string
	for line := range strings.Lines(string(content)) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) != 3 {
			continue
		}
		controllers, path := strings.TrimPrefix(fields[1], "name="), fields[2]
		if controllers == "" { // version 2, alone or beside version 1
			dirs = append(dirs, filepath.Join(root, path), filepath.Join(root, "unified", path))
			continue
		}
		dirs = append(dirs, filepath.Join(root, controllers, path))
	}
	return dirs
}

// removeGroup waits a moment for the last process of the group to be gone.
func removeGroup(dir string) {
	for range 20 {
		if err := os.Remove(dir); !errors.Is(err, unix.EBUSY) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}
