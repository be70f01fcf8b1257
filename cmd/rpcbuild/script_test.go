package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/rcbops/rpcbuild/derive/sandbox"
	"github.com/rcbops/rpcbuild/store/faulttest"
)

// TestMain lets scripts run rpcbuild, which is then this binary.
func TestMain(m *testing.M) {
	faulttest.Main()
	testscript.Main(m, map[string]func(){"rpcbuild": main})
}

// TestScript runs the scripts of testdata/script. Beside testscript's own commands they have
//
//	exits STATUS PROGRAM ARG...   runs a program, which must end with that status
//	[!] json FIELD...             a line of standard output is an object with all these fields:
//	                              name=value, name~regexp, or name alone; a.b is b in a
//	mirror SUITE DEB...           writes a suite of packages into the archive that is
//	                              https://archive.example.org to rpcbuild; a DEB is
//	                              name_version, and may go on with :Field=value
//	break SUFFIX FAULT            the archive answers paths with that end with notfound, truncated,
//	                              corrupt or silent; mend SUFFIX ends that
//	[!] requested REGEXP          a path that matches was asked of the archive since the last time:
//	                              "/a.deb", or "/a.deb bytes=512-" for the rest of it
//	tmpfs DIR SIZE                mounts a file system of that size, or gives one that is there the
//	                              new size; it is gone after the script
//	public                        lets other users of the machine into the script's folder
//	static FILE                   builds rpcbuild without cgo
//	nginx DIR                     serves a folder: HTTPS is its URL, and SSL_CERT_FILE is set for it
//	sshd DIR                      starts an SSH server: SFTP is the URL of the folder, and REPO_HOST,
//	                              REPO_USER, REPO_USER_KEY and REPO_HOST_PUBKEY are set for it
//	sshkey FILE                   makes the key pair FILE and FILE.pub
//	s3 DIR                        starts an S3 server that keeps a bucket in DIR/bucket: S3 is the URL
//	                              of prefix in it, and credentials are set for it
//
// and the conditions [root] and [lxc].
func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("..", "..", "testdata", "script"),
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup:               setupScript,
		Condition:           scriptCondition,
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"exits":     cmdExits,
			"json":      cmdJSON,
			"mirror":    cmdMirror,
			"break":     cmdBreak,
			"mend":      cmdMend,
			"requested": cmdRequested,
			"tmpfs":     cmdTmpfs,
			"public":    cmdPublic,
			"static":    cmdStatic,
			"nginx":     cmdNginx,
			"sshd":      cmdSSHD,
			"sshkey":    cmdSSHKey,
			"s3":        cmdS3,
		},
	})
}

func setupScript(env *testscript.Env) error {
	home := filepath.Join(env.WorkDir, "home")
	env.Setenv("HOME", home)
	env.Setenv("XDG_CONFIG_HOME", filepath.Join(home, ".config"))
	env.Setenv("XDG_CACHE_HOME", filepath.Join(home, ".cache"))
	env.Setenv("RPCBUILD_STORE", filepath.Join(env.WorkDir, "store"))
	env.Values[testKey{}] = env.T()
	env.Values[upstreamKey{}] = &upstream{dir: filepath.Join(env.WorkDir, "archive")}
	return os.MkdirAll(filepath.Join(home, ".config", "rpcbuild"), 0o755)
}

func scriptCondition(cond string) (bool, error) {
	switch cond {
	case "root":
		return os.Getuid() == 0, nil
	case "lxc":
		return sandbox.Check() == nil, nil
	default:
		return false, fmt.Errorf("unknown condition %q", cond)
	}
}

func cmdExits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits STATUS PROGRAM ARG...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	var exit *exec.ExitError
	switch err := ts.Exec(args[1], args[2:]...); {
	case errors.As(err, &exit):
		got = exit.ExitCode()
	case err != nil:
		ts.Fatalf("%v", err)
	}
	if got != want {
		ts.Fatalf("exit status %d, want %d", got, want)
	}
}

func cmdJSON(ts *testscript.TestScript, neg bool, args []string) {
	var fields []field
	for _, a := range args {
		f, err := parseField(a)
		ts.Check(err)
		fields = append(fields, f)
	}
	found := false
	for line := range strings.Lines(ts.ReadFile("stdout")) {
		var object map[string]any
		if err := json.Unmarshal([]byte(line), &object); err != nil {
			ts.Fatalf("standard output: %v: %s", err, line)
		}
		found = found || matches(object, fields)
	}
	if found == neg {
		ts.Fatalf("standard output has a line with %s: %v", strings.Join(args, " "), found)
	}
}

// field is what a JSON line is to have: a field, by the names on the way to it, and its value.
type field struct {
	path  []string
	value *regexp.Regexp
}

func parseField(arg string) (field, error) {
	i := strings.IndexAny(arg, "=~")
	if i < 0 {
		return field{strings.Split(arg, "."), regexp.MustCompile("")}, nil
	}
	pattern := arg[i+1:]
	if arg[i] == '=' {
		pattern = "^" + regexp.QuoteMeta(pattern) + "$"
	}
	re, err := regexp.Compile(pattern)
	return field{strings.Split(arg[:i], "."), re}, err
}

func matches(object map[string]any, fields []field) bool {
	for _, f := range fields {
		var v any = object
		for _, name := range f.path {
			m, _ := v.(map[string]any)
			var ok bool
			if v, ok = m[name]; !ok {
				return false
			}
		}
		text, isText := v.(string)
		if !isText {
			b, _ := json.Marshal(v)
			text = string(b)
		}
		if !f.value.MatchString(text) {
			return false
		}
	}
	return true
}
