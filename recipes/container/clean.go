package container

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
)

// A rule takes out of a system what only this making of it has, or what its users must not share.
// Times of files are not here: the canonical tar has none later than the release's, and keeps
// earlier ones, so that compiled Python files of packages stay valid.
type rule struct {
	do      func(r *os.Root, name string) error
	pattern string // as in path.Match; what does not exist is no error
	why     string
}

// rules are applied in order.
func rules() []rule {
	return []rule{
		{empty, "tmp", "what programs left"},
		{empty, "var/tmp", "what programs left"},
		{empty, "run", "it is made anew at each start, and has .debs bound here"},
		{empty, "root/.ssh", "keys and known hosts of whoever made it"},
		{empty, "root/.cache", "pip's and others' caches"},
		{empty, "var/backups", "copies of dpkg's and passwd's files"},
		{empty, "var/log/journal", "a journal of this machine"},
		{emptyFiles, "var/log", "dates of installation; the files stay, because services want their owners"},
		{removeFiles, "var/cache/apt", "packages, and indexes with inode times"},
		{removeFiles, "var/lib/apt/lists", "indexes of sources that the users need not have"},
		{remove, "var/cache/ldconfig/aux-cache", "inode numbers and times; ldconfig makes it anew"},
		{remove, "var/cache/debconf/*-old", "the state before the last package"},
		{remove, "var/lib/dpkg/*-old", "the state before the last package"},
		{remove, "etc/*-", "the state before the last user: passwd-, shadow-, group-, gshadow-, subuid-, subgid-"},
		{remove, "etc/ssh/ssh_host_*", "random, and secret: ssh-keygen -A makes them where the container is used"},
		{remove, "etc/ssl/private/ssl-cert-snakeoil.key", "random, and secret: make-ssl-cert generate-default-snakeoil makes it"},
		{remove, "etc/ssl/certs/ssl-cert-snakeoil.pem", "of that key, with this machine's name"},
		{removeDangling, "etc/ssl/certs/*", "the link to that certificate is named by its random hash"},
		{emptyFiles, "etc/machine-id", "random; an empty one makes systemd choose one at the first start"},
		{remove, "var/lib/dbus/machine-id", "a copy of it; systemd-tmpfiles makes the link"},
		{remove, "var/lib/systemd/random-seed", "random, and secret"},
		{remove, "var/lib/systemd/credential.secret", "random, and secret"},
		{remove, "var/lib/urandom/random-seed", "random, and secret"},
		{removeFiles, "etc/resolv.conf", "of the machine's network; a link to where a resolver writes it stays"},
	}
}

// clean brings the system into the form that depends on its packages, files and commands only.
func (s *system) clean() error {
	root, err := os.OpenRoot(s.Root)
	if err != nil {
		return fmt.Errorf("clean: %w", err)
	}
	defer root.Close()
	for _, r := range rules() {
		names, err := fs.Glob(root.FS(), r.pattern)
		if err != nil {
			return fmt.Errorf("clean %s (%s): %w", r.pattern, r.why, err)
		}
		for _, name := range names {
			if err := r.do(root, name); err != nil {
				return fmt.Errorf("clean %s (%s): %w", name, r.why, err)
			}
		}
	}
	return s.cleanShadow(root)
}

func remove(r *os.Root, name string) error { return r.RemoveAll(name) }

// empty removes everything in a directory.
func empty(r *os.Root, name string) error {
	entries, err := fs.ReadDir(r.FS(), name)
	for _, e := range entries {
		err = errors.Join(err, r.RemoveAll(name+"/"+e.Name()))
	}
	return err
}

// removeFiles removes the plain files at and below name.
func removeFiles(r *os.Root, name string) error { return eachFile(r, name, r.Remove) }

// emptyFiles truncates the plain files at and below name.
func emptyFiles(r *os.Root, name string) error {
	return eachFile(r, name, func(file string) error {
		f, err := r.OpenFile(file, os.O_WRONLY|os.O_TRUNC, 0)
		if err != nil {
			return err
		}
		return f.Close()
	})
}

func eachFile(r *os.Root, name string, do func(file string) error) error {
	if fi, err := r.Lstat(name); err != nil || fi.Mode().Type() == fs.ModeSymlink {
		return err
	}
	return fs.WalkDir(r.FS(), name, func(file string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		return do(file)
	})
}

// removeDangling removes the symbolic links at name whose target, in the same directory, is gone.
func removeDangling(r *os.Root, name string) error {
	target, err := r.Readlink(name)
	if err != nil || strings.Contains(target, "/") {
		return nil
	}
	if _, err := r.Stat(name); errors.Is(err, fs.ErrNotExist) {
		return r.Remove(name)
	}
	return nil
}

// cleanShadow sets the days on which passwords were last changed that are later than the release's
// to that one. The tools of Debian take SOURCE_DATE_EPOCH for today, but a program that writes the
// file by itself takes the clock.
func (s *system) cleanShadow(r *os.Root) error {
	const name = "etc/shadow"
	b, err := r.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("clean: %w", err)
	}
	cleaned := clampShadow(string(b), s.time/(24*60*60))
	if cleaned == string(b) {
		return nil
	}
	if err := r.WriteFile(name, []byte(cleaned), 0); err != nil {
		return fmt.Errorf("clean: %w", err)
	}
	return nil
}

// clampShadow changes the third field of the lines of shadow(5).
func clampShadow(shadow string, today int64) string {
	lines := strings.SplitAfter(shadow, "\n")
	for i, line := range lines {
		fields := strings.Split(line, ":")
		if len(fields) < 3 {
			continue
		}
		if days, err := strconv.ParseInt(fields[2], 10, 64); err == nil && days > today {
			fields[2] = strconv.FormatInt(today, 10)
			lines[i] = strings.Join(fields, ":")
		}
	}
	return strings.Join(lines, "")
}
