# Rows of run that are about releases with containers: S9 and S13.

# variant NAME EXPRESSION makes a release of containers.yaml, changed by sed, with the same lock.
variant() {
	sed "$2" testdata/bench/containers.yaml >"$recipes/releases/$1.yaml"
	if [[ $1 != containers ]]; then sed "s/\"containers\"/\"$1\"/" "$recipes/releases/containers.lock" >"$recipes/releases/$1.lock"; fi
}
# sshd starts a server on loopback that is not known to anybody else, and sets the flags to push to it.
sshd() {
	mkdir -p /run/sshd "$dir/ssh"
	for key in host user; do ssh-keygen -q -t ed25519 -N '' -f "$dir/ssh/$key"; done
	port=$((20000 + RANDOM % 10000))
	/usr/sbin/sshd -f /dev/null -o ListenAddress="127.0.0.1:$port" -o HostKey="$dir/ssh/host" -o AuthorizedKeysFile="$dir/ssh/user.pub" \
		-o PidFile="$dir/ssh/pid" -o StrictModes=no -o Subsystem='sftp internal-sftp'
	trap 'kill "$(cat "$dir/ssh/pid")"; rm -rf "$dir"' EXIT
	sftp=(--repo "sftp://$(id -un)@127.0.0.1:$port$dir/repo" --repo-user-key "$dir/ssh/user" --repo-host-pubkey "$dir/ssh/host.pub")
}
# loopback prints the bytes that went over loopback, in both directions.
loopback() { awk '$1 == "lo:" { print $2 }' /proc/net/dev; }
# pushed WHAT pushes the release containers over SFTP and prints the row: bytes that went over, of all that it has.
pushed() {
	before=$(loopback)
	"$rpcbuild" push containers --recipes "$recipes" --store "$dir/store" "${sftp[@]}" >>"$dir/log" 2>&1
	awk -v w="$1" -v new=$(($(loopback) - before)) -v all="$all" 'BEGIN {
		printf "%-3s %-52s %-12s %7.1f MB %7.1f MB %7.3fx\n", "S9", w, "all bytes", new / 1e6, all / 1e6, new / all }'
}
# clone makes a second store that shares the first one's files, which never change, and not its index.
clone() { rm -rf "$2" && cp -al "$1" "$2" && rm "$2/index.db" && cp -a "$1/index.db" "$2/"; }
export -f clone

if wanted S9 S13; then
	rm -rf "$dir/store" "$dir/repo" && mkdir "$dir/repo"
	variant containers ''
	rpcbuild realize containers
	clone "$dir/store" "$dir/clean"
fi

if wanted S9; then
	mkdir "$dir/whole"
	"$rpcbuild" push containers --recipes "$recipes" --store "$dir/store" --repo "$dir/whole" >>"$dir/log" 2>&1
	all=$(du -sb "$dir/whole" | cut -f 1) # a file with several names counts once
	rm -rf "$dir/whole"
	sshd
	pushed 'the first push of three containers'
	for moved in role base; do
		variant containers "/$moved moved/d"
		rpcbuild realize containers
		pushed "a package moved: $moved"
	done
fi

if wanted S13; then
	variant one '/role moved/d'
	variant two '/base moved/d'
	for release in one two; do
		eval "realize_$release() { \"\$rpcbuild\" realize $release --json --recipes \"\$recipes\" --store \"\$dir/store\" --repo \"\$dir/repo\" >\"\$dir/$release.json\" 2>>\"\$dir/log\"; }"
		export -f realize_$release
	done
	both() { realize_one & local first=$!; realize_two; wait $first; }
	export -f both
	ours=$(median 'clone "$dir/clean" "$dir/store"; sync' both)
	waits=$(cat "$dir/one.json" "$dir/two.json" | grep -c '"event":"wait"' || true)
	peer=$(median 'clone "$dir/clean" "$dir/store"; sync' 'realize_one; realize_two')
	row S13 "two releases at once ($waits waits)" 'in turn' "$ours" "$peer"
	if have aptly S13 && [[ -d $dir/aptly ]]; then
		aptly_again & first=$!
		sleep 0.2
		if aptly_again; then second=ran; else second='is refused: its database is locked'; fi
		wait $first || true
		echo "S13 aptly: of two mirror updates at once, the second $second"
	fi
fi
