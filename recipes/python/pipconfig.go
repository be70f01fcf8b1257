package python

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// A pipConfig is what this machine's pip is told about indexes. Its other options, such as
// find-links, would bring files of the machine into a lock, and are not read.
type pipConfig struct {
	Index   string   // empty stands for pip's own default
	Extra   []string // further indexes
	Trusted []string // hosts that need no valid certificate
	Cert    string   // file with the certificates to trust; empty stands for the machine's own
}

// readPipConfig reads what pip would: its files, then its environment. It does so without pip, which
// a machine that only fetches need not have.
func readPipConfig() (*pipConfig, error) {
	values := make(map[string]string)
	var files []map[string]string
	for _, name := range pipConfigFiles() {
		b, err := os.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read pip's configuration: %w", err)
		}
		files = append(files, parseINI(b))
	}
	for _, section := range []string{"global", "install"} { // install counts over global, wherever it is
		for _, f := range files {
			for _, key := range pipConfigKeys() {
				if v, ok := f[section+"."+key]; ok {
					values[key] = v
				}
			}
		}
	}
	for _, key := range pipConfigKeys() {
		if v := os.Getenv("PIP_" + strings.ToUpper(strings.ReplaceAll(key, "-", "_"))); v != "" {
			values[key] = v
		}
	}
	return &pipConfig{
		Index: strings.TrimSpace(values["index-url"]), Extra: strings.Fields(values["extra-index-url"]),
		Trusted: strings.Fields(values["trusted-host"]), Cert: strings.TrimSpace(values["cert"]),
	}, nil
}

func pipConfigKeys() []string {
	return []string{"index-url", "extra-index-url", "trusted-host", "cert"}
}

// pipConfigFiles are the files that pip reads, the one that counts most last. PIP_CONFIG_FILE stands
// for the user's own, and /dev/null as its value for all.
func pipConfigFiles() []string {
	named := os.Getenv("PIP_CONFIG_FILE")
	if named == os.DevNull {
		return nil
	}
	system := os.Getenv("XDG_CONFIG_DIRS")
	if system == "" {
		system = "/etc/xdg"
	}
	var files []string
	for _, dir := range filepath.SplitList(system) {
		files = append(files, filepath.Join(dir, "pip", "pip.conf"))
	}
	files = append(files, "/etc/pip.conf")
	if home, err := os.UserHomeDir(); err == nil && named == "" {
		files = append(files, filepath.Join(home, ".pip", "pip.conf"))
		if config, err := os.UserConfigDir(); err == nil {
			files = append(files, filepath.Join(config, "pip", "pip.conf"))
		}
	}
	if venv := os.Getenv("VIRTUAL_ENV"); venv != "" {
		files = append(files, filepath.Join(venv, "pip.conf"))
	}
	if named != "" {
		files = append(files, named)
	}
	return files
}

// parseINI reads what Python's configparser does of a pip.conf: sections, keys with = or :, and
// values that go on in lines that begin with white space. Keys come as section.key, with dashes.
func parseINI(b []byte) map[string]string {
	values := make(map[string]string)
	var section, key string
	lines := bufio.NewScanner(bytes.NewReader(b))
	for lines.Scan() {
		line := lines.Text()
		text := strings.TrimSpace(line)
		switch {
		case text == "", strings.HasPrefix(text, "#"), strings.HasPrefix(text, ";"):
		case key != "" && text != line && strings.TrimLeft(line, " \t") != line:
			values[key] += "\n" + text
		case strings.HasPrefix(text, "[") && strings.HasSuffix(text, "]"):
			section, key = strings.Trim(text, "[]"), ""
		default:
			if i := strings.IndexAny(text, "=:"); i > 0 {
				name := strings.ReplaceAll(strings.ToLower(strings.TrimSpace(text[:i])), "_", "-")
				key = section + "." + strings.TrimLeft(name, "-")
				values[key] = strings.TrimSpace(text[i+1:])
			}
		}
	}
	return values
}

// pipDefaultIndex asks a pip for the index that it uses when it is told of none. Debian's packages
// have pip as a wheel, too, for virtual environments.
const pipDefaultIndex = `import glob, sys
sys.path += glob.glob("/usr/share/python-wheels/pip-*.whl")
from pip._internal.models.index import PyPI
print(PyPI.simple_url)`

// machineDefaultIndex asks the machine's own pip.
func machineDefaultIndex(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "python3", "-c", pipDefaultIndex).Output()
	if err != nil {
		return "", fmt.Errorf("find the index of Python packages: pip is not configured with one, and this machine has no pip to ask (set PIP_INDEX_URL or index-url in /etc/pip.conf, or install the Debian package python3-pip): %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}
