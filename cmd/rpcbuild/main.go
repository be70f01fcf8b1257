// Command rpcbuild realizes releases: it turns a release's definition and lock into apt
// repositories, git archives, wheels, virtual environments and container images, builds only what
// does not exist yet, and publishes the result as rpc-repo.
//
// Each verb is a file with its options, its flags, its constructor and its run. Everything that a
// verb has from the outside (streams, environment, user) comes in an [app].
package main

import "os"

func main() {
	os.Exit(run(os.Args[1:], systemStreams(), systemHost()))
}
