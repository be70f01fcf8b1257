# Rows of run that are about stores: S6, S7, S8 and S12.
go build -o "$dir/treebench" ./testdata/bench/treebench
go build -o "$dir/storebench" ./testdata/bench/storebench

nixroot() { env NIX_STORE_DIR="$dir/nix/store" NIX_STATE_DIR="$dir/nix/state" NIX_LOG_DIR="$dir/nix/log" NIX_CONFIG='build-users-group =' "$@" 2>>"$dir/log"; }
nixcopy() { nixroot nix --extra-experimental-features nix-command copy --no-check-sigs --to "file://$dir/nixcache?compression=zstd" "$dir/nix/store/"*-bigtree; }
# aside RESULT INPUT... makes room for a run, without removing what is there: for minutes after, ext4 looks again and again,
# for each new file, at each inode that was freed (recently_deleted). Of what is in memory, only the inputs stay.
aside() {
	mkdir -p "$dir/aside"
	if [[ -e $1 ]]; then mv "$1" "$(mktemp -d "$dir/aside/XXXXXX")"; fi
	sync
	echo 1 >/proc/sys/vm/drop_caches
	find "${@:2}" -type f -print0 | xargs -0 cat >/dev/null
}
export -f nixroot nixcopy aside

if wanted S6 S7 S8 && have nix-store 'S6 S7 S8'; then
	# 89,000 files of this machine's /usr, 2.3 GB: see treebench/generate.go.
	"$dir/treebench" generate "$dir/bigtree" 89000 2400000000 >>"$dir/log"
	ours=$(median 'aside "$dir/trees" "$dir/bigtree"' '"$rpcbuild" store add "$dir/bigtree" --store "$dir/trees" >>"$dir/log" 2>&1')
	peer=$(median 'aside "$dir/nix" "$dir/bigtree"' 'nixroot nix-store --add "$dir/bigtree" >>"$dir/log"')
	row S6 'add 89,000 files, 2.3 GB, to the store' nix-store "$ours" "$peer"

	tree=$("$dir/treebench" add "$dir/trees" "$dir/bigtree")
	export tree
	push='"$dir/treebench" push "$dir/trees" "$dir/treerepo" "$tree" >>"$dir/log"'
	ours=$(median 'aside "$dir/treerepo" "$dir/trees/blob"' "$push")
	peer=$(median 'aside "$dir/nixcache" "$dir/nix/store"' nixcopy)
	row S7 'push them, compressed' 'nix copy' "$ours" "$peer"
	if have restic S7; then
		export RESTIC_PASSWORD=bench RESTIC_REPOSITORY=$dir/restic
		peer=$(runs=1 median 'aside "$dir/restic" "$dir/bigtree"; restic init >>"$dir/log"; sync' 'restic backup --no-cache "$dir/bigtree" >>"$dir/log"')
		row S7 'the same' 'restic backup' "$ours" "$peer"
	fi
	ours=$(warmup=1 median true "$push")
	peer=$(warmup=1 median true nixcopy)
	row S8 'push them again' 'nix copy' "$ours" "$peer"
	rm -rf "$dir/bigtree" "$dir/trees" "$dir/treerepo" "$dir/nix" "$dir/nixcache" "$dir/restic" "$dir/aside"
fi

if wanted S12 && have nix-store S12; then
	"$dir/storebench" generate "$dir/million" 1000000 >>"$dir/log"
	for verb in lookup mark reindex; do
		"$dir/storebench" $verb "$dir/million" | grep -v '^rows\|^garbage' | sed 's/^/S12 1,000,000 objects: /'
	done
	mark=$("$dir/storebench" mark "$dir/million" | sed -n 's/^mark: \(.*\) s, .*/\1/p')
	rm -rf "$dir/million"
	# Nix takes long to add many paths: the peer has 5,000, and is scaled to the 200,000 artifacts of ours.
	mkdir "$dir/paths"
	for i in {1..5000}; do echo "$i" >"$dir/paths/$i"; done
	find "$dir/paths" -type f -print0 | nixroot xargs -0 nix-store --add >>"$dir/log"
	peer=$(median true 'nixroot nix-store --gc --print-dead >>"$dir/log"')
	row S12 'mark 1,000,000 objects (nix: 5,000 paths, x 40)' 'nix-store' "$mark" "$(awk -v s="$peer" 'BEGIN { print s * 40 }')"
	rm -rf "$dir/paths" "$dir/nix"
fi
