#!/bin/sh
# Makes the git bundles that the release quickstart clones, so that it needs no outside host. Authors
# and dates are fixed: the commits have the same ids wherever this runs. The bundles are checked in,
# because a pack's bytes depend on git's version.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
recipes=$here/../../recipes
out=${1:-$recipes/git-bundles}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Nothing of the user's or the machine's configuration decides what a commit holds.
unset GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE GIT_OBJECT_DIRECTORY
export GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_GLOBAL=/dev/null HOME="$work" TZ=UTC LC_ALL=C
export GIT_AUTHOR_NAME='Release Team' GIT_AUTHOR_EMAIL=release@example.org
export GIT_COMMITTER_NAME='Release Team' GIT_COMMITTER_EMAIL=release@example.org
umask 022

at() { # the time of what follows
	export GIT_AUTHOR_DATE="$1 +0000" GIT_COMMITTER_DATE="$1 +0000"
}

init() {
	git init -q --template= -b master "$work/$1"
	cd "$work/$1"
}

commit() {
	git add -A
	git commit -q -m "$1"
}

bundle() {
	git -c pack.threads=1 bundle create -q "$work/$1.bundle" HEAD --branches --tags
	mkdir -p "$out"
	mv "$work/$1.bundle" "$out/$1.bundle"
}

# requirements: like OpenStack's, what all projects of a series may use, and the versions that were
# tested together.
init requirements
at 2025-10-06T09:00:00
cp "$here/requirements/README.rst" .
cp "$here/requirements/global-requirements.txt" .
commit 'List what projects may require'
at 2026-03-16T09:00:00
cp "$recipes/constraints/upper-constraints-2026.1.txt" upper-constraints.txt
commit 'Freeze the constraints of 2026.1'
git branch stable/2026.1
at 2026-03-30T09:00:00
sed '/^uwsgi/d' "$here/requirements/global-requirements.txt" > global-requirements.txt
commit 'Open the next series: uwsgi is no longer a library that we track'
git checkout -q stable/2026.1
at 2026-04-01T09:00:00
cat > .gitreview <<'REVIEW'
[gerrit]
project=openstack/requirements.git
defaultbranch=stable/2026.1
REVIEW
commit 'Update .gitreview for stable/2026.1'
git tag -a -m 'Requirements of 2026.1' 2026.1
git checkout -q master
bundle requirements

# rpcbuild-playbooks: how a deployment consumes a release.
init rpcbuild-playbooks
at 2026-04-02T10:00:00
cp -R "$here/rpcbuild-playbooks/." .
rm -f stage-repo.yml
commit 'Use the apt repository of a release'
at 2026-04-03T10:00:00
cp "$here/rpcbuild-playbooks/stage-repo.yml" .
commit 'Stage python and git artifacts on a repo server'
git tag -a -m 'rpcbuild-playbooks 1.0.0' 1.0.0
bundle rpcbuild-playbooks
