# Landfall's own targets. Everything that is missing is installed by scripts/setup.

PROFILE ?= release
LANDFALL = target/$(PROFILE)/landfall
VENV = .venv

# Tests that need root: real namespaces, rules, containers and mounts.
KERNEL = (package(card) and binary(it)) or (package(agent) and (binary(it) or test(/^netns::door::/))) or (package(store-sqlite) and test(/^disk::/))

FUZZ_SECONDS ?= 180
FUZZ_TARGETS ?=
SOAK ?=

.PHONY: help up down test check unit wire sim kernel e2e bench soak fuzz deny setup setup-tests build venv

help: ## Show what can be made
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

up: setup build venv ## Build, start Landfall, and run a sample task on it
	scripts/walkthrough $(LANDFALL) $(VENV)/bin

down: ## Stop Landfall and remove everything it made, its state too
	@if [ -x $(LANDFALL) ]; then $(LANDFALL) down --purge; else echo "nothing is built, so nothing runs"; fi

build:
	cargo build --locked --profile $(PROFILE) --package landfall

# A run of everything compiles each thing once: what incremental compilation would
# keep for the next edit is gigabytes that nobody reads.
test: export CARGO_INCREMENTAL := 0
test: setup-tests venv ## Everything: check, unit, wire, sim, kernel, e2e
	$(MAKE) check
	$(MAKE) unit
	$(MAKE) wire
	$(MAKE) sim
	$(MAKE) kernel
	$(MAKE) e2e

check: ## Format, lints, architecture, generated code
	cargo fmt --all --check
	cargo fmt --manifest-path fuzz/Cargo.toml --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	cargo clippy --locked --package wire --all-targets --all-features -- -D warnings
	cargo xtask tidy

unit: ## What needs neither root nor network
	cargo nextest run --locked --workspace -E 'not (package(sim) or $(KERNEL))'
	cargo test --locked --workspace --doc --quiet

wire: venv ## Our codecs and signatures beside botocore's
	cargo build --locked --package wire --features roundtrip --example echo
	$(VENV)/bin/pytest -q tests/wire

sim: ## The control plane and the agent's engine under virtual time
	cargo nextest run --locked --package sim

kernel: ## Real namespaces, real rules, real containers (root)
	cargo nextest run --locked --package card --package agent --package store-sqlite -E '$(KERNEL)'

e2e: ## boto3 and the AWS CLI against a running Landfall (root)
	cargo build --locked --package landfall
	LANDFALL=target/debug/landfall $(VENV)/bin/pytest -q tests/e2e

bench: setup-tests venv build $(VENV)/.installed-bench ## Ratios beside what one would use instead (root)
	$(VENV)/bin/python -m tests.bench $(LANDFALL)

soak: setup-tests venv build ## Tasks by the hundred, come and gone for an hour; SOAK="--tasks N --minutes M" (root)
	LANDFALL=$(LANDFALL) $(VENV)/bin/python -m tests.soak $(SOAK)

fuzz: ## Whatever a client could send, led by coverage; FUZZ_SECONDS for each of FUZZ_TARGETS
	scripts/fuzz $(FUZZ_SECONDS) $(FUZZ_TARGETS)

deny: ## Licences, advisories and sources of the dependencies
	@command -v cargo-deny >/dev/null || cargo install --locked cargo-deny
	cargo deny check
	cargo deny --manifest-path fuzz/Cargo.toml --config deny.toml check

setup:
	scripts/setup

setup-tests:
	scripts/setup --tests

venv: $(VENV)/.installed
$(VENV)/.installed: tests/e2e/requirements.txt
	python3 -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --requirement $<
	touch $@

$(VENV)/.installed-bench: tests/bench/requirements.txt $(VENV)/.installed
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --requirement $<
	touch $@
