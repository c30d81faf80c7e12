# Each target does all it needs, from a fresh Debian 12 on; docker/setup.sh is done in a second when nothing is missing.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# A cargo that docker/setup.sh has just installed is not in the PATH of the shell that called make.
CARGO_HOME ?= $(HOME)/.cargo
export PATH := $(CARGO_HOME)/bin:$(PATH)

# Open MPI refuses to run as root, which is what containers run as.
ifeq ($(shell id -u),0)
export OMPI_ALLOW_RUN_AS_ROOT := 1
export OMPI_ALLOW_RUN_AS_ROOT_CONFIRM := 1
endif

# Debian's serial HDF5: the reader alone is built against it, so that nothing in it can ask for MPI.
SERIAL_HDF5 := /usr/lib/x86_64-linux-gnu/hdf5/serial

.NOTPARALLEL:
.PHONY: help setup build demo test lint reader linkage

help: ## what there is
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

setup: ## install system packages, Rust and libtorch, where they are missing
	@docker/setup.sh

build: setup ## both programs, in target/release
	cargo build --locked --release

demo: build ## embed the sample on two ranks and show what came out
	sample/demo.sh

test: lint reader ## everything that is checked, as CI does it
	cargo build --locked --release
	$(MAKE) --no-print-directory linkage
	cargo test --locked --release

lint: setup ## format and clippy
	@$(call component,fmt,rustfmt)
	@$(call component,clippy,clippy)

# Its program goes to a folder of its own, what the two builds have in common is compiled once.
reader: setup ## the reader alone, with neither MPI nor libtorch
	[ ! -d $(SERIAL_HDF5) ] || export HDF5_DIR=$(SERIAL_HDF5); CARGO_BUILD_BUILD_DIR=target \
	    cargo build --locked --release --no-default-features --bin hyperslab --target-dir target/reader
	@$(call loads_none,target/reader/release/hyperslab,libtorch|libc10|libmpi)

# Commands that only read start at once: the small program may not load libtorch, which takes 0.4 s.
linkage:
	@$(call loads_none,target/release/hyperslab,libtorch|libc10)

# $(call loads_none,PROGRAM,LIBRARIES): fails where the program asks for one of the libraries.
define loads_none
if readelf -d $(1) | grep NEEDED | grep -E '$(2)'; then \
    echo "$(1) loads a library that it must not need at start" >&2; exit 1; \
fi; \
echo "$(1) loads none of $(2)"
endef

fmt_command := cargo fmt --check
clippy_command := cargo clippy --release --all-targets -- -D warnings

# $(call component,SUBCOMMAND,COMPONENT): runs cargo's subcommand, adding the component where rustup can.
define component
if ! cargo $(1) --version > /dev/null 2>&1 && command -v rustup > /dev/null; then rustup component add $(2); fi; \
if cargo $(1) --version > /dev/null 2>&1; then echo '$($(1)_command)'; $($(1)_command); else \
    echo "skipped: $($(1)_command) (this cargo, $$(command -v cargo), has no $(2), and there is no rustup)" >&2; fi
endef
