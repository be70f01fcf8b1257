//go:build cgo

package sandbox

import (
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/lxc/go-lxc"
)

// Main runs one program in an LXC container, as the file at specPath says, and returns when
// nothing inside runs any more. It is the whole life of a process of its own.
func Main(specPath string) error {
	b, err := os.ReadFile(specPath)
	if err != nil {
		return fmt.Errorf("sandbox: %w", err)
	}
	var s spec
	if err := json.Unmarshal(b, &s); err != nil {
		return fmt.Errorf("sandbox: read %s: %w", specPath, err)
	}
	lxcPath := filepath.Join(s.Scratch, "lxc")
	if err := os.MkdirAll(lxcPath, 0o755); err != nil {
		return fmt.Errorf("sandbox: %w", err)
	}
	c, err := lxc.NewContainer(s.Name, lxcPath)
	if err != nil {
		return fmt.Errorf("sandbox: make container: %w", err)
	}
	defer c.Release()
	logPath := filepath.Join(lxcPath, "log")
	items, err := s.config(logPath)
	if err != nil {
		return err
	}
	for _, i := range items {
		if err := c.SetConfigItem(i.key, i.value); err != nil {
			return fmt.Errorf("sandbox: set %s = %s: %w", i.key, i.value, err)
		}
	}
	if err := c.WantDaemonize(true); err != nil {
		return fmt.Errorf("sandbox: %w", err)
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	if err := start(c, s.command()); err != nil {
		log, _ := os.ReadFile(logPath)
		return fmt.Errorf("sandbox: start container: %w\n%s", err, log)
	}
	init := c.InitPid()
	go func() {
		<-stop
		syscall.Kill(init, syscall.SIGKILL) // not c.Stop, which waits for c.Wait
	}()
	c.Wait(lxc.STOPPED, -1)
	return nil
}

// startAttempts bounds how often a container that does not start is started again.
//
// One start in some hundreds fails: liblxc (5.0.2, lxc_ambient_caps_up) asks for the real and then
// for the effective user id while its parent maps both. If the mapping comes between the two, it
// takes itself for a setuid program, and crashes. Nothing of ours has run by then.
const startAttempts = 5

func start(c *lxc.Container, command []string) error {
	for attempt := 1; ; attempt++ {
		err := c.StartExecute(command)
		if err == nil || attempt == startAttempts {
			return err
		}
	}
}

// Version returns the version of LXC that sandboxes are made with; empty if this program has none.
func Version() string { return lxc.Version() }

// linked returns an error if this program has no LXC in it.
func linked() error { return nil }

type configItem struct{ key, value string }

// config is the container's configuration, in LXC's own terms: lxc.container.conf(5).
func (s *spec) config(logPath string) ([]configItem, error) {
	items := []configItem{
		{"lxc.log.file", logPath},
		{"lxc.log.level", "ERROR"},
		{"lxc.rootfs.path", "dir:" + s.Root},
		{"lxc.uts.name", "localhost"},
		{"lxc.idmap", "u 0 0 65536"},
		{"lxc.idmap", "g 0 0 65536"},
		{"lxc.autodev", "1"},
		{"lxc.tty.max", "0"},
		{"lxc.pty.max", "64"},
		{"lxc.apparmor.profile", "unconfined"}, // the user namespace is what confines
		{"lxc.mount.entry", "tmpfs dev/shm tmpfs rw,nosuid,nodev,create=dir 0 0"},
	}
	if s.Network {
		items = append(items, configItem{"lxc.net.0.type", "none"}, configItem{"lxc.mount.auto", "proc:mixed"})
	} else {
		items = append(items, configItem{"lxc.net.0.type", "empty"}, configItem{"lxc.mount.auto", "proc:mixed sys:ro"})
	}
	for _, e := range s.Env {
		items = append(items, configItem{"lxc.environment", e})
	}
	for _, b := range s.Binds {
		entry, err := b.mountEntry()
		if err != nil {
			return nil, err
		}
		items = append(items, configItem{"lxc.mount.entry", entry})
	}
	return items, nil
}

func (b Bind) mountEntry() (string, error) {
	fi, err := os.Stat(b.Source)
	if err != nil {
		return "", fmt.Errorf("sandbox: bind: %w", err)
	}
	options := "bind,create=dir"
	if !fi.IsDir() {
		options = "bind,create=file"
	}
	if !b.Writable {
		options += ",ro"
	}
	escape := strings.NewReplacer(" ", `\040`, "\t", `\011`)
	return fmt.Sprintf("%s %s none %s 0 0", escape.Replace(b.Source), escape.Replace(strings.TrimPrefix(b.Target, "/")), options), nil
}

// command wraps the program: a daemonized container has no output and no status of its own, so
// both go through files.
func (s *spec) command() []string {
	const script = `exec >>/` + ioDir + `/` + logFile + ` 2>&1 </dev/null
umask 022
cd "$1" || exit 1
shift
"$@"
echo $? >/` + ioDir + `/` + statusFile
	dir := s.Dir
	if dir == "" {
		dir = "/"
	}
	return append([]string{"/bin/sh", "-c", script, "sh", dir}, s.Args...)
}
