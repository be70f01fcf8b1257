// Package archive writes file trees as canonical tars, the form in which artifacts hold what needs
// owners, setuid bits, extended attributes, devices or hard links, and unpacks tars, its own and
// those of Debian packages, whatever they say, into one folder and never outside of it.
package archive

import "strings"

// xattrPrefix is where tars keep extended attributes: the PAX records of star, which GNU tar and
// libarchive read too.
const xattrPrefix = "SCHILY.xattr."

// keptXattr reports whether an extended attribute is part of a tree. Others belong to the machine
// (SELinux labels) or to the file system below (overlayfs).
func keptXattr(name string) bool {
	switch name {
	case "security.capability", "system.posix_acl_access", "system.posix_acl_default":
		return true
	}
	return strings.HasPrefix(name, "user.")
}
