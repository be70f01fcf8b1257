// Package spec is what the definitions of all kinds share: which release they belong to, and
// errors that point at a field.
package spec

import "fmt"

// A Release is what every kind knows of the release that it is a part of.
type Release struct {
	// Name is the release's, such as r33.0.0: part of the paths that clients read.
	Name string
	// Distribution is what the release is for.
	Distribution Distribution
	// URL is the web root where clients will find rpc-repo, without a slash at its end.
	URL string
	// Time is the lock's one timestamp, in seconds since 1970: SOURCE_DATE_EPOCH of every build.
	Time int64
}

// A Distribution is an operating system to build for.
type Distribution struct {
	ID       string `yaml:"id" json:"id"`             // such as debian
	Version  string `yaml:"version" json:"version"`   // such as 13
	Codename string `yaml:"codename" json:"codename"` // such as trixie
	Arch     string `yaml:"arch" json:"arch"`         // Debian's name, such as amd64
}

// Machine returns the kernel's name of the architecture, such as x86_64.
func (d Distribution) Machine() string {
	switch d.Arch {
	case "amd64":
		return "x86_64"
	case "arm64":
		return "aarch64"
	default:
		return d.Arch
	}
}

// Platform names the distribution as published paths do, such as debian-13-x86_64.
func (d Distribution) Platform() string {
	return fmt.Sprintf("%s-%s-%s", d.ID, d.Version, d.Machine())
}
