# What CI calls (.ci/run), and what a developer calls before a commit.

GO            ?= go
# What a board needs: grpcnotrace lets the linker drop what nobody calls, nomemory
# leaves out the runtime in memory. Add csi for CSI drivers.
TAGS          ?= grpcnotrace,nomemory
LINT_VERSION  := v2.15.0
CACHE         := $(CURDIR)/.ci/cache
LINT          := $(CACHE)/bin/golangci-lint-$(LINT_VERSION)
CONTAINERD    := $(CACHE)/containerd

# The rooms that people import to unit-test their agents, on any machine.
UNIT_TESTING  := ./cri ./cri/crilog ./cri/critest ./cri/critest/conformance ./podmanager/... ./pleg ./probe ./statusmgr ./gc/... ./volume ./volume/csi ./metaclient/...

# The packages with tests on real containerd. Without -race: the agent under test
# is a program of its own.
E2E           := ./cri/critest/conformance ./cri/critest/containerd ./cri/crilog ./pleg ./probe ./volume ./volume/csi ./metaclient ./podmanager/podspec ./podmanager/podcgroup ./podmanager/imagepull ./examples/imagegc ./examples/nodeagent

.PHONY: all check fmt vet lint layers test build e2e e2e-deps sanity bench run clean

all: check test build e2e

check: fmt vet lint layers

fmt:
	@out="$$(gofmt -l .)"; if [ -n "$$out" ]; then echo "gofmt would change:"; echo "$$out"; exit 1; fi

vet:
	$(GO) vet ./...
	$(GO) vet -tags e2e ./...
	$(GO) vet -tags csi,nomemory ./examples/...

lint: $(LINT)
	$(LINT) run --timeout 15m ./...

$(LINT):
	mkdir -p $(CACHE)/bin
	GOBIN=$(CACHE)/bin CGO_ENABLED=0 $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINT_VERSION)
	mv $(CACHE)/bin/golangci-lint $@

layers:
	.ci/layers

# The tests that need nothing but Go.
test:
	$(GO) test -race -shuffle=on ./...

# Static binaries for the boards, and the rooms on a developer's Mac.
build:
	for arch in amd64 arm64 arm; do \
		CGO_ENABLED=0 GOOS=linux GOARCH=$$arch $(GO) build -trimpath -ldflags '-s -w' -tags $(TAGS) -o bin/linux-$$arch/ ./examples/... || exit 1; \
	done
	CGO_ENABLED=0 GOOS=linux $(GO) build -tags $(TAGS) ./...
	CGO_ENABLED=0 GOOS=darwin GOARCH=arm64 $(GO) build $(UNIT_TESTING) ./examples/...
	@ls -l bin/linux-*/*

# The same behaviour on real containerd; needs root and Debian.
e2e-deps:
	.ci/install-containerd $(CONTAINERD)

e2e: e2e-deps
	EDGED_CONTAINERD_DIR=$(CONTAINERD) $(GO) test -tags e2e -count=1 -timeout 30m $(E2E)

# The CSI driver of our tests, held against Kubernetes' own suite for drivers. It is a
# module of its own, so that the suite is none of the library's dependencies.
sanity:
	cd volume/csi/sanity && $(GO) vet ./... && $(GO) test -count=1 ./...

# Ratios count, not absolute times: each benchmark has what it is compared with
# in the same run.
bench: e2e-deps
	$(GO) test -run '^$$' -bench . -benchmem ./...
	EDGED_CONTAINERD_DIR=$(CONTAINERD) $(GO) test -tags e2e -run '^$$' -bench "BenchmarkStart|BenchmarkRestart" -benchtime 1x -timeout 30m ./examples/nodeagent
	EDGED_CONTAINERD_DIR=$(CONTAINERD) $(GO) test -tags e2e -run '^$$' -bench BenchmarkDeath -benchtime 1x -timeout 10m ./pleg

# The main job, with the in-memory runtime.
run:
	$(GO) run ./examples/nodeagent -runtime memory -manifests examples/manifests

clean:
	rm -rf bin .ci/cache
