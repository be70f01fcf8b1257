package main

import (
	"strings"

	"github.com/spf13/pflag"
)

// repoFolder is where the host of --repo-host keeps rpc-repo, unless it says another folder: what
// the original's web server serves.
const repoFolder = "/var/www/repo"

// sftpFlags adds the flags for an rpc-repo over SFTP.
func (a *app) sftpFlags(flags *pflag.FlagSet) {
	flags.StringVar(&a.repoHost, "repo-host", "", "`host` to publish to over SFTP, as host[:port][/folder], where the first --repo can only be read (default folder: "+repoFolder+")")
	flags.StringVar(&a.ssh.User, "repo-user", "", "`user` to log in as for sftp URLs that name none (default: who runs rpcbuild)")
	flags.StringVar(&a.ssh.KeyFile, "repo-user-key", "", "`file` with the private key to log in with")
	flags.StringVar(&a.ssh.HostKeyFile, "repo-host-pubkey", "", "`file` with the host's public key, as a line of known_hosts or alone")
}

// writable returns the URLs of the repos with one first that can be written to: that of --repo-host,
// if it is given and no URL that can be written to is first. That is how the original's jobs say it:
// one variable with the URL to read, one with the host to write to.
func (a *app) writable() ([]string, error) {
	if a.repoHost == "" {
		return a.repoURLs, nil
	}
	if len(a.repoURLs) > 0 && !strings.HasPrefix(a.repoURLs[0], "http://") && !strings.HasPrefix(a.repoURLs[0], "https://") {
		return a.repoURLs, nil
	}
	host, folder, _ := strings.Cut(a.repoHost, "/")
	if host == "" || strings.Contains(a.repoHost, "://") {
		return nil, usageErrorf("--repo-host %s: want host, host:port or host/folder (--repo takes a URL)", a.repoHost)
	}
	if folder = "/" + folder; folder == "/" {
		folder = repoFolder
	}
	return append([]string{"sftp://" + host + folder}, a.repoURLs...), nil
}
