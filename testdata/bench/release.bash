# Rows of run that are about releases with containers: S9 and S13.

# variant NAME EXPRESSION makes a release of containers.yaml, changed by sed, with the same lock.
variant() {
	sed "$2" testdata/bench/containers.yaml >"$recipes/releases/$1.yaml"
	if [[ $1 != containers ]]; then sed "s/\"containers\"/\"$1\"/" "$recipes/releases/containers.lock" >"$recipes/releases/$1.lock"; fi
}
# images prints the bytes of all published root file systems, which are uploaded as they are.
images() { find "$dir/repo/lxc-images" -name rootfs.tar.xz -printf '%s\n' | awk '{ n += $1 } END { printf "%d\n", n }'; }
# pushed prints the bytes that a push of the release containers uploads.
pushed() { "$rpcbuild" push containers --json --recipes "$recipes" --store "$dir/store" --repo "$dir/repo" 2>>"$dir/log" | sed -n 's/.*"event":"summary".*"bytes":\([0-9]*\).*/\1/p'; }
bytes() {
	awk -v w="$1" -v all="$2" -v allx="$3" -v new="$4" -v newx="$5" 'BEGIN {
		printf "%-3s %-52s %-12s %7.1f MB %7.1f MB %7.3fx\n", "S9", w, "all bytes", new / 1e6, all / 1e6, new / all
		printf "%-3s %-52s %-12s %7.1f MB %7.1f MB %7.3fx\n", "", "  without the published rootfs.tar.xz", "", (new - newx) / 1e6, (all - allx) / 1e6, (new - newx) / (all - allx) }'
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
	all=$(pushed)
	allx=$(images)
	for moved in role base; do
		variant containers "/$moved moved/d"
		rpcbuild realize containers
		before=$(images)
		new=$(pushed)
		bytes "a package moved: $moved" "$all" "$allx" "$new" $(($(images) - before))
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
