package main

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/rcbops/rpcbuild/recipes/git"
	"github.com/rcbops/rpcbuild/recipes/spec"
	"github.com/rcbops/rpcbuild/store/signature"
)

// systemConfig is the machine's configuration file.
const systemConfig = "/etc/rpcbuild/config.yaml"

// A configFile is one configuration file. Relative paths in it are relative to its folder.
type configFile struct {
	// Store is the store's folder.
	Store string `yaml:"store"`
	// Repo lists the rpc-repos: the first is written to, all are read.
	Repo []string `yaml:"repo"`
	// RepoHost is the host that is written to over SFTP where no repo can be written to; RepoUser,
	// RepoUserKey and RepoHostPubkey are for every sftp URL: whom to log in as, the file with the key,
	// and the file with the host's.
	RepoHost       string `yaml:"repo_host"`
	RepoUser       string `yaml:"repo_user"`
	RepoUserKey    string `yaml:"repo_user_key"`
	RepoHostPubkey string `yaml:"repo_host_pubkey"`
	// Recipes is the folder of release definitions.
	Recipes string `yaml:"recipes"`
	// Jobs is how many builds run side by side; 0 means one a processor.
	Jobs int `yaml:"jobs"`
	// Upstreams maps the beginning of upstream URLs to what they are read from instead.
	Upstreams map[string]string `yaml:"upstreams"`
	// Timeout is how long an upstream may be silent before it counts as not answering; 0 means 30 s.
	Timeout time.Duration `yaml:"timeout"`
	// Builder is the name that realisations give this machine.
	Builder string `yaml:"builder"`
	// GPGPrivate is the file with the key that signs apt repositories, GPGPublic with its public part.
	GPGPrivate string `yaml:"gpg_private"`
	GPGPublic  string `yaml:"gpg_public"`
	// Key is the file with the key that signs what is built and pushed here.
	Key string `yaml:"key"`
	// Trust lists whose signatures count, as public keys or files with one, and TrustThreshold says
	// how many of them must have signed; nil means one.
	Trust          []string `yaml:"trust"`
	TrustThreshold *int     `yaml:"trust_threshold"`
	// ReleaseCandidate is the branch of the recipes whose releases are not replaced.
	ReleaseCandidate string `yaml:"release_candidate"`

	name string // the file's
}

// readConfig reads the configuration files that there are, the strongest first: the one that is
// named, or else the user's own and the machine's. What the stronger one says of a key counts;
// upstreams are put together, key by key.
func readConfig(named string, h host) ([]*configFile, error) {
	names := []string{filepath.Join(h.configDir(), "config.yaml"), systemConfig}
	if named != "" {
		names = []string{named}
	}
	var files []*configFile
	for _, name := range names {
		f, err := readConfigFile(name)
		if errors.Is(err, fs.ErrNotExist) && named == "" {
			continue
		}
		if err != nil {
			return nil, usageError{err}
		}
		files = append(files, f)
	}
	return files, nil
}

func readConfigFile(name string) (*configFile, error) {
	content, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	f := &configFile{name: name}
	if err := spec.DecodeYAML(name, content, f); err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	if err := f.validate(); err != nil {
		return nil, fmt.Errorf("read configuration: %w", spec.Locate(name, content, err))
	}
	return f, nil
}

func (f *configFile) validate() error {
	for i, t := range f.Trust {
		if _, err := trustedKey(f.trusted(t)); err != nil {
			return spec.Errorf(fmt.Sprintf("$.trust[%d]", i), "%v", err)
		}
	}
	if b := f.ReleaseCandidate; b != "" {
		if err := git.CheckBranch(b); err != nil {
			return spec.Errorf("$.release_candidate", "%v", err)
		}
	}
	if t := f.TrustThreshold; t != nil && *t < 1 {
		return spec.Errorf("$.trust_threshold", "%d keys: want at least one", *t)
	}
	return nil
}

// values returns what the file says for a flag; nothing, if it says nothing.
func (f *configFile) values(flag string) []string {
	var values []string
	switch flag {
	case "store":
		values = []string{f.path(f.Store)}
	case "repo":
		for _, r := range f.Repo {
			values = append(values, f.path(r))
		}
	case "repo-host":
		values = []string{f.RepoHost}
	case "repo-user":
		values = []string{f.RepoUser}
	case "repo-user-key":
		values = []string{f.path(f.RepoUserKey)}
	case "repo-host-pubkey":
		values = []string{f.path(f.RepoHostPubkey)}
	case "recipes":
		values = []string{f.path(f.Recipes)}
	case "builder":
		values = []string{f.Builder}
	case "gpg-private":
		values = []string{f.path(f.GPGPrivate)}
	case "gpg-public":
		values = []string{f.path(f.GPGPublic)}
	case "key":
		values = []string{f.path(f.Key)}
	case "trust":
		for _, t := range f.Trust {
			values = append(values, f.trusted(t))
		}
	case "trust-threshold":
		if f.TrustThreshold != nil {
			values = []string{strconv.Itoa(*f.TrustThreshold)}
		}
	case "release-candidate":
		values = []string{f.ReleaseCandidate}
	case "jobs":
		if f.Jobs != 0 {
			values = []string{strconv.Itoa(f.Jobs)}
		}
	}
	if len(values) == 1 && values[0] == "" {
		return nil
	}
	return values
}

func (f *configFile) path(p string) string {
	if p == "" || filepath.IsAbs(p) || strings.Contains(p, "://") {
		return p
	}
	return filepath.Join(filepath.Dir(f.name), p)
}

// trusted returns an entry of trust: a key as it is, or the path of a file with one.
func (f *configFile) trusted(t string) string {
	if signature.IsPublicKey(t) {
		return t
	}
	return f.path(t)
}

// timeout returns what the strongest file that says something of it says; else 0.
func timeout(files []*configFile) time.Duration {
	for _, f := range files {
		if f.Timeout != 0 {
			return f.Timeout
		}
	}
	return 0
}

// upstreams puts the files' maps together.
func upstreams(files []*configFile) map[string]string {
	all := make(map[string]string)
	for _, f := range files {
		weaker := maps.Clone(f.Upstreams)
		maps.Copy(weaker, all)
		maps.Copy(all, weaker)
	}
	return all
}
