package cache

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// processName names a process among all machines: the machine's boot, the namespace that process ids are of,
// the id, and when the process started, so that no other one is ever called the same. Where /proc does
// not say so much, it is empty.
func processName(pid int) string {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	namespace, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		return ""
	}
	stat, err := os.ReadFile(filepath.Join("/proc", fmt.Sprint(pid), "stat"))
	if err != nil {
		return ""
	}
	// The name of the program comes second, in parentheses, and may hold anything; the start is the
	// 20th field after it (proc(5)).
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	if len(fields) < 20 {
		return ""
	}
	return fmt.Sprintf("%s %s %d %s", strings.TrimSpace(string(boot)), namespace, pid, fields[19])
}

// processGone reports whether the process of that name surely runs no more: only who shares its process
// ids can tell.
func processGone(name string) bool {
	mine := processName(os.Getpid())
	if name == "" || mine == "" {
		return false
	}
	var boot, namespace, start string
	var pid int
	if _, err := fmt.Sscan(name, &boot, &namespace, &pid, &start); err != nil {
		return false
	}
	return strings.HasPrefix(mine, boot+" "+namespace+" ") && processName(pid) != name
}
