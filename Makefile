# make run and make test need Go, make and git, nothing else.

GO      ?= go
BIN     := bin
# Static binaries: agents run the executor on whatever they have.
export CGO_ENABLED ?= 0
# The version is the tag, or the commit's place after it.
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS := -s -w -X lode/version.tag=$(VERSION)
# What is large and not hot: inlined, its code is a tenth of lode.
COLD    := github.com/mesos/mesos-go github.com/gogo/protobuf google.golang.org/protobuf github.com/alecthomas/kong \
  github.com/prometheus github.com/gdamore/tcell/v2 github.com/pelletier/go-toml/v2 gopkg.in/yaml.v3 github.com/go-zookeeper \
  github.com/coder/websocket github.com/decred github.com/btcsuite/btcd/txscript github.com/btcsuite/btcd/btcec \
  lode/cmd lode/devmesos lode/devnode lode/load lode/message lode/neighbour lode/zookeeper \
  lode/scheduler/control lode/scheduler/sandbox lode/scheduler/top \
  net/http crypto/tls crypto/x509 encoding/asn1 encoding/pem regexp archive go/doc mime os/exec text/tabwriter
export GCFLAGS := $(patsubst %,-gcflags=%/...=-l,$(COLD))
# Masters, agents and nodes speak HTTP/1.1, and lode's own servers nothing else (cmd/lode/secure.go): without
# HTTP/2 the programs are half a megabyte smaller. Tests are built as the programs are.
export GOFLAGS := $(strip $(shell $(GO) env GOFLAGS) -tags=nethttpomithttp2)
TOOL    := $(GO) tool -modfile=tools/go.mod
# Arguments for `make run`, e.g. make run ARGS="--blocks 2".
ARGS    ?=
# Time for each fuzz target of `make fuzz`.
FUZZTIME ?= 10s
# Seeds of `make sim`.
SEEDS   ?= 100000

.DEFAULT_GOAL := build

.PHONY: help
help: ## List the targets.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## Build bin/lode, bin/lode-executor and bin/btcd.
	@mkdir -p $(BIN)
	@echo "building $(BIN)/lode, $(BIN)/lode-executor, $(BIN)/btcd (the first time fetches modules and takes a minute or two)"
	$(GO) build -trimpath $(GCFLAGS) -ldflags '$(LDFLAGS)' -o $(BIN)/lode ./cmd/lode
	$(GO) build -trimpath $(GCFLAGS) -ldflags '$(LDFLAGS)' -o $(BIN)/lode-executor ./cmd/lode-executor
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN)/btcd github.com/btcsuite/btcd

PREFIX  ?= /usr/local
.PHONY: install
install: build ## Install both programs below PREFIX (/usr/local) of DESTDIR.
	install -d $(DESTDIR)$(PREFIX)/bin
	install -m 755 $(BIN)/lode $(BIN)/lode-executor $(DESTDIR)$(PREFIX)/bin

.PHONY: dist
dist: export VERSION := $(VERSION)
dist: export LDFLAGS := $(LDFLAGS)
dist: ## Write tarballs, packages, images, SBOMs and checksums to dist/.
	GO="$(GO)" TOOL="$(TOOL)" deploy/dist.sh

.PHONY: run
run: build ## Mine on a development cluster on this machine: lode dev $(ARGS).
	$(BIN)/lode dev $(ARGS)

.PHONY: test
test: ## Run all tests.
	@echo "testing (the first time compiles everything and takes some minutes)"
	$(GO) test -timeout 30m ./e2e ./... # what takes longest first: the others run beside it

.PHONY: race
race: export CGO_ENABLED = 1
race: ## Run all short tests under the race detector (needs a C compiler).
	$(GO) test -timeout 30m -race -short ./...

.PHONY: test-portable
test-portable: ## Test the hashing code without assembly, and for arm64 under qemu-user.
	$(GO) test -tags purego ./miner/... ./stratum/merkle ./stratum/jsonscan
	GOARCH=arm64 $(GO) test -exec qemu-aarch64 ./miner/... ./stratum/merkle ./stratum/jsonscan

.PHONY: lint
lint: ## Check format, vet, staticcheck and the module files.
	@unformatted=$$($(TOOL) gofumpt -l $$(git ls-files '*.go' | grep -v '\.pb\.go$$')); \
	  if [ -n "$$unformatted" ]; then echo "not formatted by gofumpt:"; echo "$$unformatted"; exit 1; fi
	$(GO) vet ./...
	$(TOOL) staticcheck ./...
	$(GO) mod tidy -diff

.PHONY: web-check
web-check: ## Check the types of the pages' scripts (needs npm).
	cd web && npm ci --silent && npm run --silent check

.PHONY: fmt
fmt: ## Format the code with gofumpt.
	$(TOOL) gofumpt -w $$(git ls-files '*.go' | grep -v '\.pb\.go$$')

.PHONY: generate
generate: ## Write generated files again; CI checks that nothing changes.
	$(GO) generate ./...

.PHONY: fuzz
fuzz: ## Run every fuzz target for FUZZTIME (10s).
	@for package in $$($(GO) list ./...); do \
	  for target in $$($(GO) test -list '^Fuzz' $$package 2>/dev/null | grep '^Fuzz'); do \
	    echo "fuzzing $$package $$target for $(FUZZTIME)"; \
	    $(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$package || exit 1; \
	  done; \
	done

.PHONY: sim
sim: ## Simulate SEEDS whole histories of a cluster (100000); LODE_SIM_SEED=n replays one.
	LODE_SIM_SEEDS=$(SEEDS) $(GO) test ./scheduler/core -run TestSimulation -timeout 0 -v

.PHONY: mutants
mutants: ## Put deliberate faults into the scheduler's core: the simulation must find each.
	$(GO) run ./scheduler/core/mutants $(ARGS)

.PHONY: bench
bench: build ## Measure the miner on this machine, then run the Go benchmarks.
	$(BIN)/lode bench
	$(GO) test -run '^$$' -bench . -benchmem ./miner/... ./stratum/... ./pool/...

.PHONY: bench-check
bench-check: ## Run every Go benchmark once, so that none rots.
	$(GO) test -run '^$$' -bench . -benchtime 1x -short ./...

.PHONY: hostile
hostile: ## Attack a pool-proxy in every way that lode load knows; its miners must not feel it.
	LODE_TEST_ATTACKERS=200 $(GO) test ./load/fakenode -run TestProxyBears -count=1 -v

.PHONY: cover
cover: ## Write coverage.out and print the total.
	$(GO) test -coverprofile=coverage.out ./...
	$(GO) tool cover -func=coverage.out | tail -1

.PHONY: conformance
conformance: ## Check a Mesos cluster: make conformance MASTER=http://host:5050
	@test -n "$(MASTER)" || { echo "make conformance: MASTER is missing, e.g. MASTER=http://host:5050"; exit 2; }
	$(GO) test ./devmesos/conformance -count=1 -timeout 60m -v -run TestCluster -master=$(MASTER) $(ARGS)

.PHONY: clean
clean: ## Remove what make built.
	rm -rf $(BIN) dist coverage.out
