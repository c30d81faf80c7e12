# Each target does all it needs, from a fresh Debian or Ubuntu on; docker/setup.sh is done in a second when nothing is
# missing. Elsewhere, and without root: make build SETUP_FLAGS='--no-root --torch cu128 --prefix /where/there/is/room'.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# What docker/setup.sh has just installed is not in the PATH of the shell that called make: each shell reads this first.
export BASH_ENV := $(CURDIR)/.deps/env.sh

# See docker/setup.sh --help.
SETUP_FLAGS ?=

# Open MPI refuses to run as root, which is what containers run as.
ifeq ($(shell id -u),0)
export OMPI_ALLOW_RUN_AS_ROOT := 1
export OMPI_ALLOW_RUN_AS_ROOT_CONFIRM := 1
endif

# MPICH beside Debian's default MPI.
MPICH_ENV := MPICC=mpicc.mpich HDF5_DIR=/usr/lib/x86_64-linux-gnu/hdf5/mpich CARGO_TARGET_DIR=target/mpich

# Debian's serial HDF5: the reader alone is built against it, so that nothing in it can ask for MPI.
SERIAL_HDF5 := /usr/lib/x86_64-linux-gnu/hdf5/serial

FUZZ_SECONDS ?= 60
FUZZ_TARGETS := $(patsubst fuzz/fuzz_targets/%.rs,%,$(wildcard fuzz/fuzz_targets/*.rs))
# No input may take longer than a second or two, or memory that it does not fill.
FUZZ_FLAGS := -timeout=25 -rss_limit_mb=2048 -malloc_limit_mb=256

.NOTPARALLEL:
.PHONY: help setup build demo demo-db test test-mpich soak fuzz bench-read bench-populate lint reader linkage image

help: ## what there is
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 24

setup: ## install system packages, Rust and libtorch, where they are missing
	@docker/setup.sh $(SETUP_FLAGS)

build: setup ## both programs, in target/release
	cargo build --locked --release

demo: build ## embed the sample on two ranks and show what came out
	sample/demo.sh

demo-db: override SETUP_FLAGS += --postgres
demo-db: build ## the sample's embeddings in a PostgreSQL with pgvector, which is left running
	sample/demo-db.sh

test: override SETUP_FLAGS += --tests
test: lint reader ## everything that is checked, as CI does it
	cargo build --locked --release
	$(MAKE) --no-print-directory linkage
	cargo test --locked --release

# A build of its own: what does not depend on MPI is taken over from the other, the rest takes two minutes.
test-mpich: build ## the tests that use MPI, under MPICH (not part of make test)
	@docker/setup.sh --mpi mpich
	[ -d target/mpich ] || { mkdir -p target/mpich.new && cp -a --reflink=auto target/release target/mpich.new && \
	    rm -rf target/mpich.new/release/build/{mpi-sys,hdf5-metno-sys}-* && mv target/mpich.new target/mpich; }
	$(MPICH_ENV) cargo test --locked --release -- comm:: h5:: job::

# KILLS=1000 SEED=7 make soak
soak: build ## kill jobs at 200 random moments: each must end with the bytes of an undisturbed one (not part of make test)
	SOAK_KILLS=$(or $(KILLS),200) SOAK_SEED=$(or $(SEED),1) cargo test --locked --release -- --ignored --nocapture soak::at_length

# With a nightly compiler, and a build of its own. What is found stands in fuzz/artifacts.
fuzz: setup ## fuzz each parser for FUZZ_SECONDS (not part of make test)
	cargo +nightly --version > /dev/null 2>&1 || rustup toolchain install nightly --profile minimal
	cargo fuzz --version > /dev/null 2>&1 || cargo install --locked cargo-fuzz
	python3 fuzz/seeds.py fuzz/corpus
	cargo +nightly fuzz build --features engine
	export TMPDIR=$$(mktemp -d -p /dev/shm) LD_LIBRARY_PATH=$${LIBTORCH:-$(CURDIR)/.deps/libtorch}/lib; \
	trap 'rm -rf "$$TMPDIR"' EXIT; for target in $(FUZZ_TARGETS); do \
	    cargo +nightly fuzz run --features engine $$target -- $(FUZZ_FLAGS) -max_total_time=$(FUZZ_SECONDS); \
	done

bench-read: build ## reading by id beside h5py and NumPy, at 2 million vectors (17 GB in target/bench)
	/usr/bin/python3 benches/read.py

# More for it: BENCH_FLAGS='--index --million'.
BENCH_FLAGS ?=

bench-populate: override SETUP_FLAGS += --postgres
bench-populate: build ## filling PostgreSQL beside psycopg2, at 100,000 vectors (a quarter of an hour, 2 GB in target/bench)
	/usr/bin/python3 benches/populate.py $(BENCH_FLAGS)

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

# More for the engine's `build`: IMAGE_FLAGS='--build-arg TORCH=cu128'.
IMAGE_FLAGS ?=
ENGINE ?= $(firstword $(foreach engine,docker podman buildah,$(shell command -v $(engine))))

image: ## a container image, with docker, podman or buildah
	$(or $(ENGINE),$(error no docker, podman or buildah in PATH)) build -f docker/Dockerfile -t hyperslab \
	    --build-arg COMMIT="$$(git describe --always --abbrev=12 --exclude='*' --dirty || echo unknown)" $(IMAGE_FLAGS) .

fmt_command := cargo fmt --check
# All of it, and the reader alone, which lacks what the engine uses.
clippy_command := cargo clippy --release --all-targets -- -D warnings && \
    cargo clippy --release --no-default-features --lib --bin hyperslab -- -D warnings

# $(call component,SUBCOMMAND,COMPONENT): runs cargo's subcommand, adding the component where rustup can.
define component
if ! cargo $(1) --version > /dev/null 2>&1 && command -v rustup > /dev/null; then rustup component add $(2); fi; \
if cargo $(1) --version > /dev/null 2>&1; then echo '$($(1)_command)'; $($(1)_command); else \
    echo "skipped: $($(1)_command) (this cargo, $$(command -v cargo), has no $(2), and there is no rustup)" >&2; fi
endef
