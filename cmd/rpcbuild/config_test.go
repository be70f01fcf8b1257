package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"github.com/rcbops/rpcbuild/store/signature"
)

func TestConfigPrecedence(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) *configFile {
		t.Helper()
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		f, err := readConfigFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	user := write("user.yaml", "timeout: 5s\njobs: 3\nrepo: [here, \"https://example.org\"]\nupstreams: {\"http://a\": \"http://user\"}\n")
	system := write("system.yaml", "timeout: 1m\njobs: 4\nstore: /srv/store\nupstreams: {\"http://a\": \"http://system\", \"http://b\": \"http://system\"}\n")
	files := []*configFile{user, system}

	var jobs int
	var store string
	var repo []string
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	flags.IntVar(&jobs, "jobs", 1, "")
	flags.StringVar(&store, "store", "default", "")
	flags.StringArrayVar(&repo, "repo", []string{"default"}, "")
	if err := applyConfig(flags, []string{"jobs", "store", "repo"}, files); err != nil {
		t.Fatal(err)
	}
	if jobs != 3 || store != "/srv/store" {
		t.Errorf("jobs %d, store %s; want 3 of the user's file and /srv/store of the system's", jobs, store)
	}
	if got := timeout(files); got != 5*time.Second {
		t.Errorf("timeout %s, want 5s of the user's file", got)
	}
	if diff := cmp.Diff([]string{filepath.Join(dir, "here"), "https://example.org"}, repo); diff != "" {
		t.Errorf("repo (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]string{"http://a": "http://user", "http://b": "http://system"}, upstreams(files)); diff != "" {
		t.Errorf("upstreams (-want +got):\n%s", diff)
	}
}

func TestConfigOfTrust(t *testing.T) {
	dir := t.TempDir()
	const alice = "ed25519:11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
	key, err := signature.ParsePublicKey(alice)
	if err != nil {
		t.Fatal(err)
	}
	public, err := key.PEM()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "alice.pem"), public, 0o644); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "config.yaml")
	content := "key: signing.pem\ntrust: [\"" + alice + "\", alice.pem]\ntrust_threshold: 2\nrelease_candidate: stable/rc\n"
	if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	f, err := readConfigFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for flag, want := range map[string][]string{
		"key": {filepath.Join(dir, "signing.pem")}, "trust": {alice, filepath.Join(dir, "alice.pem")},
		"trust-threshold": {"2"}, "release-candidate": {"stable/rc"},
	} {
		if diff := cmp.Diff(want, f.values(flag)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", flag, diff)
		}
		if got := (&configFile{}).values(flag); got != nil {
			t.Errorf("%s: a file that says nothing of it says %q", flag, got)
		}
	}
}

func TestEnvironmentPrecedence(t *testing.T) {
	for _, test := range []struct {
		name string
		args []string
		env  map[string]string
		repo []string
		push bool
	}{
		{name: "nothing"},
		{name: "original", env: map[string]string{"HOST_RCBOPS_REPO": "http://a", "PUSH_TO_MIRROR": "yes"}, repo: []string{"http://a"}, push: true},
		{
			name: "ours over the original's",
			env:  map[string]string{"HOST_RCBOPS_REPO": "http://a", "RPCBUILD_REPO": "http://b http://c", "PUSH_TO_MIRROR": "YES", "RPCBUILD_PUSH": "No"},
			repo: []string{"http://b", "http://c"},
		},
		{name: "empty is not there", env: map[string]string{"RPCBUILD_PUSH": "", "PUSH_TO_MIRROR": "YES"}, push: true},
		{
			name: "a flag over all", args: []string{"--push=false", "--repo", "http://d"},
			env: map[string]string{"RPCBUILD_REPO": "http://b", "PUSH_TO_MIRROR": "YES"}, repo: []string{"http://d"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			var repo []string
			var push bool
			flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
			flags.StringArrayVar(&repo, "repo", nil, "")
			flags.BoolVar(&push, "push", false, "")
			if err := flags.Parse(test.args); err != nil {
				t.Fatal(err)
			}
			if _, err := applyEnvironment(flags, func(name string) string { return test.env[name] }); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.repo, repo); diff != "" || push != test.push {
				t.Errorf("push %v, want %v; repo (-want +got):\n%s", push, test.push, diff)
			}
		})
	}
}

func FuzzReadConfig(f *testing.F) {
	f.Add("store: /srv/store\nrepo: [a, \"https://example.org\"]\njobs: 2\nupstreams: {a: b}\n")
	f.Add("repo: one\n")
	f.Add("key: a\ntrust: [\"ed25519:11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\", b]\ntrust_threshold: 2\nrelease_candidate: rc\n")
	f.Add("&a [*a]")
	f.Fuzz(func(t *testing.T, content string) {
		file := filepath.Join(t.TempDir(), "config.yaml")
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		c, err := readConfigFile(file)
		if err != nil {
			return
		}
		for _, flag := range []string{"store", "repo", "recipes", "jobs", "builder", "gpg-private", "gpg-public", "key", "trust", "trust-threshold", "release-candidate",
			"repo-host", "repo-user", "repo-user-key", "repo-host-pubkey"} {
			c.values(flag)
		}
		upstreams([]*configFile{c, c})
	})
}
