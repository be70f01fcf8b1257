package main

import (
	"slices"
	"strings"
	"testing"
)

func TestWritable(t *testing.T) {
	for _, tt := range []struct {
		host        string
		repos, want string
		err         string
	}{
		{repos: "https://a", want: "https://a"},
		{host: "h", want: "sftp://h/var/www/repo"},
		{host: "h:2222", repos: "https://a http://b", want: "sftp://h:2222/var/www/repo https://a http://b"},
		{host: "[::1]:22/srv/repo", want: "sftp://[::1]:22/srv/repo"},
		{host: "h", repos: "folder https://a", want: "folder https://a"},
		{host: "h", repos: "s3://bucket", want: "s3://bucket"},
		{host: "sftp://h/x", err: "--repo takes a URL"},
		{host: "/x", err: "want host"},
	} {
		a := &app{repoHost: tt.host, repoURLs: strings.Fields(tt.repos)}
		got, err := a.writable()
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%q: %v, want %q", tt.host, err, tt.err)
			}
			continue
		}
		if err != nil || !slices.Equal(got, strings.Fields(tt.want)) {
			t.Errorf("%q with %q: %q, %v, want %q", tt.host, tt.repos, got, err, tt.want)
		}
	}
}
