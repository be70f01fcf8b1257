package container

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"
)

// ids are the numbers of a system's users and groups.
type ids struct{ users, groups map[string]int }

// readIDs reads passwd(5) and group(5) of the system below dir.
func readIDs(dir string) (*ids, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	users, err := readNumbers(root, "etc/passwd")
	if err != nil {
		return nil, err
	}
	groups, err := readNumbers(root, "etc/group")
	if err != nil {
		return nil, err
	}
	return &ids{users, groups}, nil
}

// readNumbers returns the third field of each line by the first.
func readNumbers(root *os.Root, name string) (map[string]int, error) {
	b, err := root.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	numbers := make(map[string]int)
	for line := range strings.Lines(string(b)) {
		fields := strings.Split(line, ":")
		if len(fields) < 3 {
			continue
		}
		if n, err := strconv.Atoi(fields[2]); err == nil {
			numbers[fields[0]] = n
		}
	}
	return numbers, nil
}

// owner returns the numbers of user:group; empty is root.
func (i *ids) owner(owner string) (uid, gid int, err error) {
	if owner == "" {
		return 0, 0, nil
	}
	user, group, _ := strings.Cut(owner, ":")
	if uid, err = number(i.users, "user", user); err != nil {
		return 0, 0, err
	}
	gid, err = number(i.groups, "group", group)
	return uid, gid, err
}

func number(known map[string]int, what, name string) (int, error) {
	if n, err := strconv.ParseUint(name, 10, 31); err == nil {
		return int(n), nil
	}
	n, ok := known[name]
	if !ok {
		return 0, fmt.Errorf("the container has no %s %q (add the package that makes it, or use its number)", what, name)
	}
	return n, nil
}

// writeFilesTar writes files as the members of a tar.
func writeFilesTar(w io.Writer, files []File, owners *ids, mtime int64) error {
	t := tar.NewWriter(w)
	for _, f := range files {
		mode, err := f.mode()
		if err != nil {
			return fmt.Errorf("%s: mode %q: %w", f.Path, f.Mode, err)
		}
		uid, gid, err := owners.owner(f.Owner)
		if err != nil {
			return fmt.Errorf("%s: %w", f.Path, err)
		}
		err = t.WriteHeader(&tar.Header{
			Typeflag: tar.TypeReg, Name: strings.TrimPrefix(f.Path, "/"), Size: int64(len(f.Content)),
			Mode: mode, Uid: uid, Gid: gid, ModTime: time.Unix(mtime, 0),
		})
		if err != nil {
			return fmt.Errorf("%s: %w", f.Path, err)
		}
		if _, err := io.WriteString(t, f.Content); err != nil {
			return err
		}
	}
	return t.Close()
}
