# What an empty Debian machine with Go and root needs, and what is done there.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := check

BIN   := bin/rpcbuild
STORE ?= .quickstart/store
REPO  ?= rpc-repo

# Debian packages: to build and run rpcbuild, for its tests, and the peers of its benchmarks.
PACKAGES       := ca-certificates dpkg gcc git libc6-dev lxc lxc-dev pkg-config python3-pip xz-utils
PACKAGES_TEST  := $(PACKAGES) apt curl gpg gpg-agent gpgv iproute2 libxml2-utils nginx-light openssh-server openssl procps python3-venv sqv util-linux wget
PACKAGES_BENCH := $(PACKAGES_TEST) aptly debian-archive-keyring hyperfine mmdebstrap nix-bin restic

.PHONY: quickstart
quickstart: deps $(BIN) ## realize the release quickstart and publish it to ./rpc-repo
	@$(BIN) realize quickstart --store $(STORE) --repo $(REPO) --push
	@$(BIN) show quickstart --store $(STORE) --repo $(REPO) --summary

.PHONY: test
test: deps-test ## run all tests; those that need root and LXC are among them
	go tool gotestsum --format pkgname-and-test-fails -- -timeout 80m ./...

.PHONY: test-quick
test-quick: ## run the tests that take seconds
	go tool gotestsum --format pkgname-and-test-fails -- -short ./...

.PHONY: check
check: format lint test-quick ## format, lint, and run the quick tests

.PHONY: format
format: ## format the code
	gofmt -w cmd store derive recipes cache

.PHONY: lint
lint: ## what .ci/run asks before it tests
	@test -z "$$(gofmt -l cmd store derive recipes cache)" || { gofmt -d cmd store derive recipes cache; exit 1; }
	go vet ./...
	go tool staticcheck ./...
	CGO_ENABLED=0 go build -o /dev/null ./cmd/rpcbuild

.PHONY: soak
soak: deps-test ## kill rpcbuild SOAK times at random moments, and let every call of a commit, push, pull and gc fail
	SOAK=$(or $(SOAK),1000) go test -count=1 -timeout 0 -v -run '^TestKill$$' ./cmd/rpcbuild
	go test -count=20 -timeout 0 -run '^(TestManyProcesses|TestTakeOver)$$' ./cmd/rpcbuild
	SOAK=$(or $(SOAK),1000) go test -count=1 -timeout 0 -p 1 -v ./store/storetest ./cache/cachetest | grep -Ev '^ *(=== |--- PASS)'

.PHONY: fuzz
fuzz: ## run every fuzz target for FUZZTIME
	@for p in $$(go list ./...); do \
		for f in $$(go test -list '^Fuzz' $$p | grep ^Fuzz || true); do \
			echo "$$p $$f"; go test -run '^$$' -fuzz "^$$f$$" -fuzztime $(or $(FUZZTIME),20s) $$p; \
		done; \
	done

.PHONY: bench
bench: deps-bench $(BIN) ## measure against the peers, and print the ratios
	testdata/bench/run

.PHONY: $(BIN)
$(BIN):
	go build -o $@ ./cmd/rpcbuild

# Keeps the machine from starting the servers that come with packages: tests start their own.
unstarted = policy=/usr/sbin/policy-rc.d; \
	if [[ ! -e $$policy ]]; then trap 'rm -f /usr/sbin/policy-rc.d' EXIT; printf '\#!/bin/sh\nexit 101\n' >$$policy; chmod 0755 $$policy; fi;

# Installs what is missing. A machine that has it all, and apt's indexes, is not asked for anything.
define install
@missing=; for p in $(1); do dpkg-query -W -f '$${db:Status-Status}' $$p 2>/dev/null | grep -qx installed || missing+=" $$p"; done; \
if [[ -n $$missing || ! -s $$(ls -S /var/lib/apt/lists/*Packages* 2>/dev/null | head -n 1) ]]; then \
	echo "installing:$$missing" >&2; \
	$(call unstarted) \
	apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends $$missing >/dev/null; \
fi
endef

# An S3 server for the tests. It is no dependency: its module is not in go.mod.
VERSITYGW := .tools/versitygw-1.8.0
$(VERSITYGW):
	GOBIN=$(CURDIR)/.tools go install github.com/versity/versitygw/cmd/versitygw@v1.8.0
	ln -f .tools/versitygw $@

.PHONY: deps deps-test deps-bench
deps:
	$(call install,$(PACKAGES))
deps-test: $(VERSITYGW)
	$(call install,$(PACKAGES_TEST))
deps-bench:
	$(call install,$(PACKAGES_BENCH))

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14
