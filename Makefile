SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c

PKG  ?= ./...
RUN  ?=
BIN  ?= bin
CMDS ?= ./cmd/jobworker ./cmd/jobcli

# The packages that compile wherever Go does.
PORTABLE ?= ./cmd/jobcli ./job ./httpapi ./stream ./authz ./cgroupv2

# The packages that meet the kernel: in the machine all their tests run. Of those above
# them it runs what is another thing where there are limits; all the rest a host can do.
VM_PKG ?= ./internal/kerneltest ./cgroupv2 ./nsinit ./job ./internal/escape ./cmd/jobworker
VM_ALSO = -run '^(TestLimit|TestGolden|TestNewcomer|TestNewcomerLocal|TestLocal|TestLocalLimit|TestLocalEnds)$$' ./httpapi ./cmd/jobcli

# The packages whose tests that need the machine run a second time, with the race detector.
RACE_PKG ?= ./internal/kerneltest ./cgroupv2 ./job

# step runs target $(1) and says how long it took.
step = @echo '==> $(1)'; t=$$SECONDS; $(MAKE) --no-print-directory $(1); echo "==> $(1): $$((SECONDS - t)) s"

.PHONY: build test deps check test-host test-kernel test-vm test-vm-race escape fault test-systemd fuzz vulncheck test-compose bench

# The two static binaries; the same bytes wherever the tree lies.
build:
	mkdir -p $(BIN)
	CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags='-s -w -buildid=' -o $(BIN)/ $(CMDS)

# Everything a change has to pass.
test:
	$(call step,deps)
	$(call step,check)
	$(call step,test-host)
	$(call step,test-kernel)
	$(call step,test-vm-race)
	$(call step,test-systemd)

# What the tests need, installed or cached where it is missing.
deps:
	@.ci/deps

check:
	@files=$$(gofmt -l .); [ -z "$$files" ] || { echo "not gofmt-ed: $$files" >&2; exit 1; }
	go vet ./...
	go vet -tags failpoint ./...
	GOOS=darwin go vet $(PORTABLE)
	GOOS=windows go vet $(PORTABLE)

# With the race detector, and the loads in full without it.
test-host:
	go test -race -tags failpoint $(PKG)
	CGO_ENABLED=0 go test -run '^(TestManyFollowers|TestShortJobs|TestManyLive|TestModel|TestInputLoad)$$' ./httpapi ./job ./cmd/jobcli

# Kernel tests in a virtual machine.
test-kernel: deps
	@.ci/test-vm $(VM_PKG)
	@.ci/test-vm $(VM_ALSO)

# Any of them there: make test-vm PKG=./cgroupv2 RUN='^TestMemoryMax$$'
test-vm: deps
	@.ci/test-vm -run '$(value RUN)' $(PKG)

test-vm-race: deps
	@.ci/test-vm -race -run '$(value RUN)' $(RACE_PKG)

# The attempts of internal/escape, and a table of what became of them.
escape: deps
	@.ci/test-vm -run '^TestEscape$$' ./internal/escape

# The unit files of deploy/, in a virtual machine that systemd has booted.
IN_GUEST = -file $(CURDIR)/bin/jobworker:/usr/local/bin/jobworker -file $(CURDIR)/bin/jobcli:/usr/local/bin/jobcli \
	$(foreach u,$(notdir $(wildcard deploy/*.service)),-file $(CURDIR)/deploy/$(u):/etc/systemd/system/$(u))
test-systemd: deps build
	CGO_ENABLED=0 go test -json -count=1 -exec 'go tool vmexec -systemd $(IN_GUEST)' ./internal/units | go run ./internal/vmexec/noskip

# A worker that is killed at every failpoint, and 200 times at random: 40 in each of
# five machines, as many as one has time for.
fault: deps
	@.ci/test-vm -failpoint -run '^(TestFailpoints|TestCrash)$$' ./job
	@for i in 1 2 3 4 5; do CRASHES=40 .ci/test-vm -run '^TestCrashes$$' ./job; done

# Each fuzz target for a time: make fuzz FUZZTIME=1h
FUZZTIME ?= 10s
fuzz:
	@.ci/fuzz $(FUZZTIME)

# Known vulnerabilities in what the binaries call.
vulncheck:
	@.ci/vulncheck

# The containers of deploy/, where there is a Docker engine.
test-compose: deps build
	@.ci/test-compose

# As the commands are built: with cgo nsinit would be a dynamic binary, and slower.
bench:
	CGO_ENABLED=0 go test -run '^$$' -bench . $(PKG)
