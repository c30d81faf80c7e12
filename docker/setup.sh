#!/usr/bin/env bash
# Installs all that building, testing and running hyperslab need and cargo cannot fetch: system packages,
# a Rust toolchain where there is none, and libtorch. Run again, it checks and is done in a second.
set -euo pipefail

usage() {
    cat <<'TEXT'
Usage: docker/setup.sh [--gpu | --cpu]

  --gpu   libtorch with all of NVIDIA's libraries (5 GB), also where this machine has no GPU: for a tree that
          GPU nodes share
  --cpu   libtorch alone (1.2 GB), also where there is a GPU
  Without either: by whether an NVIDIA GPU is present.

A cargo that is new enough, LIBTORCH, HDF5_DIR and the settings of pip and apt are used as they are.
TEXT
}

readonly TORCH=2.11.0           # what tch 0.24 binds
readonly RUST=1.95.0            # installed where there is no Rust
readonly RUST_OLDEST=1.89       # rust-version in Cargo.toml
readonly PACKAGES=(
    openmpi-bin libopenmpi-dev              # MPI
    libhdf5-openmpi-dev hdf5-tools          # parallel HDF5; h5dump
    libhdf5-dev                             # serial HDF5: `make test` builds the reader alone against it
    gcc g++ make cmake nasm pkg-config      # libtorch's bindings; turbojpeg from source
    clang libclang-dev lld                  # bindings to MPI; the linker where Rust brings none
    git curl ca-certificates
    python3 python3-pip python3-h5py        # fetches libtorch; the tests read files with stock h5py
)
# Without MPI, CUDA or Python these two are all that libtorch_cpu.so loads beside itself.
readonly WHEELS_CPU=(--no-deps "torch==$TORCH" nvidia-cuda-cupti==13.0.85 nvidia-cuda-runtime==13.0.96)
readonly WHEELS_GPU=("torch==$TORCH")
readonly DRIVER_OLDEST=580      # for the CUDA 13 that PyPI's torch is built with

say() { printf 'setup: %s\n' "$*"; }
die() { printf 'setup: error: %s\n' "$1" >&2; shift; [ $# -eq 0 ] || printf '       %s\n' "$@" >&2; exit 1; }
has() { command -v "$1" > /dev/null 2>&1; }
# at_least 1.95.0 1.89: is the first version the second or later?
at_least() { [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1)" = "$2" ]; }
size_of() { du -shL "$1" | cut -f 1; }
# The system's Python is the one that python3-pip and python3-h5py belong to.
python() { if has apt-get; then /usr/bin/python3 "$@"; else python3 "$@"; fi; }

# ---- system packages ------------------------------------------------------------------------------------------

missing_packages() {
    local package
    for package in "$@"; do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2> /dev/null)" = installed ] || echo "$package"
    done
}

# Runs a command as root, with the proxies that sudo would drop.
as_root() {
    local name proxies=()
    for name in http_proxy https_proxy ftp_proxy no_proxy; do
        [ -z "${!name-}" ] || proxies+=("$name=${!name}")
    done
    local command=(env DEBIAN_FRONTEND=noninteractive "${proxies[@]}" "$@")
    if [ "$(id -u)" -eq 0 ]; then "${command[@]}"; else sudo "${command[@]}"; fi
}

may_be_root() {
    [ "$(id -u)" -eq 0 ] || { has sudo && { [ -t 0 ] || sudo -n true 2> /dev/null; }; }
}

install_packages() {
    local started=$SECONDS log
    may_be_root || die "missing system packages: $*" "Ask an administrator to run:" \
        "  apt-get update && apt-get install -y --no-install-recommends $*"
    say "installing $# system packages: $*"
    log=$(mktemp)
    # A third party's source that does not answer is no reason to stop; a package not found is.
    as_root apt-get update > "$log" 2>&1 || say "apt-get update had errors; going on"
    if ! as_root apt-get install -y --no-install-recommends "$@" >> "$log" 2>&1; then
        tail -n 20 "$log" >&2
        die "apt-get could not install the packages (above; all of it in $log)"
    fi
    rm -f "$log"
    say "installed the packages in $((SECONDS - started)) s"
}

check_packages() {
    local missing
    if ! has apt-get; then
        # On a cluster modules stand in for packages; build.rs checks what they are.
        for missing in mpicc gcc g++ make cmake nasm clang git curl python3 h5dump; do
            has "$missing" || die "this is no Debian or Ubuntu, and there is no $missing here" \
                "Load the module or ask an administrator, and set HDF5_DIR to a parallel HDF5."
        done
        return
    fi
    mapfile -t missing < <(missing_packages "${PACKAGES[@]}")
    if [ "${#missing[@]}" -gt 0 ]; then
        install_packages "${missing[@]}"
        mapfile -t missing < <(missing_packages "${PACKAGES[@]}")
        [ "${#missing[@]}" -eq 0 ] || die "still missing after the installation: ${missing[*]}"
    fi
    has mpicc || die "libopenmpi-dev is installed, but there is no mpicc in PATH ($PATH)"
    say "system packages: all ${#PACKAGES[@]} there"
}

# ---- Rust -----------------------------------------------------------------------------------------------------

cargo_version() { cargo --version 2> /dev/null | cut -d ' ' -f 2; }
rust_is_there() { local v; v=$(cargo_version) && [ -n "$v" ] && has rustc && at_least "$v" "$RUST_OLDEST"; }

# Fetches rustup itself and checks its digest; nothing is run that did not arrive whole.
install_rustup() {
    local target from dir
    target=$(uname -m)-unknown-linux-gnu
    from=${RUSTUP_UPDATE_ROOT:-https://static.rust-lang.org/rustup}/dist/$target/rustup-init
    dir=$(mktemp -d)
    if curl -sSfL --retry 3 -o "$dir/rustup-init" "$from" && curl -sSfL --retry 3 -o "$dir/sum" "$from.sha256" &&
        echo "$(cut -d ' ' -f 1 "$dir/sum")  $dir/rustup-init" | sha256sum --check --status; then
        chmod +x "$dir/rustup-init"
        "$dir/rustup-init" -y --quiet --no-modify-path --profile minimal -c clippy -c rustfmt \
            --default-toolchain "$RUST" > "$dir/log" 2>&1 || tail -n 5 "$dir/log" >&2
    fi
    rm -rf "$dir"
    rust_is_there
}

install_rust() {
    local started=$SECONDS old
    old=$(cargo_version || true)
    if has rustup; then
        say "installing Rust $RUST with the rustup that is here${old:+ (cargo $old is older than $RUST_OLDEST)}"
        rustup toolchain install "$RUST" --profile minimal -c clippy -c rustfmt > /dev/null 2>&1 || true
        [ -n "$old" ] || rustup default "$RUST" > /dev/null 2>&1 || true
        rust_is_there || die "cargo is ${old:-not there}, $RUST_OLDEST or later is needed" "Run: rustup default $RUST"
    else
        say "installing Rust $RUST with rustup${old:+ (cargo $old is older than $RUST_OLDEST)}"
        install_rustup || install_debian_rust
    fi
    say "installed Rust $(cargo_version) in $((SECONDS - started)) s"
}

# Debian's own cargo is too old; the compiler it keeps for browsers follows Rust, without clippy.
install_debian_rust() {
    say "rustup cannot be had; trying Debian's cargo-web"
    has apt-get || die "no Rust $RUST_OLDEST or later: see https://rustup.rs"
    install_packages cargo-web rustc-web rustfmt-web
    hash -r
    rust_is_there || die "Debian's cargo-web is $(cargo_version), $RUST_OLDEST or later is needed: see https://rustup.rs"
}

check_rust() {
    PATH=${CARGO_HOME:-$HOME/.cargo}/bin:$PATH
    rust_is_there || install_rust
    say "Rust: cargo $(cargo_version) in $(dirname "$(command -v cargo)")"
}

# ---- libtorch -------------------------------------------------------------------------------------------------

gpu_is_there() { [ -e /proc/driver/nvidia/version ] || compgen -G '/dev/nvidia[0-9]*' > /dev/null; }

warn_of_old_driver() {
    local driver
    driver=$(sed -n 's/^NVRM.*  \([0-9][0-9]*\)\.[0-9.]* .*/\1/p' /proc/driver/nvidia/version 2> /dev/null || true)
    if [ -n "$driver" ] && [ "$driver" -lt "$DRIVER_OLDEST" ]; then
        say "warning: NVIDIA's driver is $driver; PyPI's torch $TORCH needs $DRIVER_OLDEST or later on the GPU."
        say "         pytorch.org has builds for older drivers: unpack one and set LIBTORCH to it."
    fi
}

# What is in .deps/site: "cpu", "gpu", or nothing where it is not a finished installation of this version.
libtorch_there() {
    local stamp
    read -r stamp 2> /dev/null < .deps/site/.complete || return 0
    [ "${stamp% *}" = "torch $TORCH" ] && [ -e .deps/libtorch/lib/libtorch_cpu.so ] || return 0
    echo "${stamp##* }"
}

# Loads the libraries, which finds what is missing or cut short.
libtorch_loads() {
    python - "$1/torch/lib" "$2" <<'PYTHON'
import ctypes, sys
lib, kind = sys.argv[1:]
for name in ["libtorch_cpu.so"] + ["libtorch_cuda.so"] * (kind == "gpu"):
    ctypes.CDLL(f"{lib}/{name}", ctypes.RTLD_GLOBAL)
PYTHON
}

# install_libtorch cpu|gpu: into a folder beside, checked, and only then renamed.
install_libtorch() {
    local kind=$1 started=$SECONDS new=.deps/site.new need_gib=4 free_gib wheels=("${WHEELS_CPU[@]}")
    [ "$kind" = cpu ] || { need_gib=14; wheels=("${WHEELS_GPU[@]}"); }
    free_gib=$(($(df --output=avail -k .deps | tail -n 1) / 1048576))
    [ "$free_gib" -ge "$need_gib" ] || die "libtorch needs $need_gib GiB while it is installed, $PWD/.deps has $free_gib free"
    say "installing libtorch $TORCH ($kind): pip install ${wheels[*]}"
    trap 'rm -rf .deps/site.new' EXIT
    rm -rf "$new" && mkdir -p "$new/tmp"
    # pip unpacks in TMPDIR; on the same disk its last step is a rename.
    TMPDIR=$PWD/$new/tmp PIP_ROOT_USER_ACTION=ignore python -m pip install --quiet --no-compile \
        --only-binary :all: --target "$new/site" "${wheels[@]}" || die "pip could not install libtorch (above)"
    libtorch_loads "$new/site" "$kind" || die "the installed libtorch does not load (above)"
    echo "torch $TORCH $kind" > "$new/site/.complete"
    rm -rf .deps/site
    mv "$new/site" .deps/site
    ln -sfn site/torch .deps/libtorch
    say "installed libtorch: $(size_of .deps/site) in $((SECONDS - started)) s"
}

check_libtorch() {
    local wanted=$1 there
    if [ -n "${LIBTORCH-}" ] && ! [ "$LIBTORCH" -ef .deps/libtorch ]; then
        [ -e "$LIBTORCH/lib/libtorch_cpu.so" ] || die "LIBTORCH is set to $LIBTORCH, which has no lib/libtorch_cpu.so" \
            "Unset it to have libtorch $TORCH installed here."
        say "libtorch: the one that LIBTORCH names, $LIBTORCH"
        return
    fi
    if [ -z "$wanted" ]; then
        if gpu_is_there; then wanted=gpu; else wanted=cpu; fi
    fi
    [ "$wanted" = cpu ] || warn_of_old_driver
    mkdir -p .deps
    exec 9> .deps/lock # against two of these at once, in one tree
    flock -n 9 || { say "waiting for another setup.sh in this tree"; flock 9; }
    there=$(libtorch_there)
    # The larger set serves a machine without a GPU just as well.
    [ "$there" = gpu ] || [ "$there" = "$wanted" ] || install_libtorch "$wanted"
    there=$(libtorch_there)
    [ -n "$there" ] || die "libtorch is not in .deps after its installation"
    say "libtorch: $TORCH ($there) in .deps/libtorch"
}

# ---------------------------------------------------------------------------------------------------------------

main() {
    local wanted=
    case "${1-}" in
        --gpu) wanted=gpu ;;
        --cpu) wanted=cpu ;;
        --help | -h) usage; exit ;;
        '') ;;
        *) usage >&2; exit 2 ;;
    esac
    cd "$(dirname "${BASH_SOURCE[0]}")/.."
    [ "$(uname -sm)" = 'Linux x86_64' ] || die "made for Linux on x86_64, this is $(uname -sm)" \
        "Elsewhere: install MPI, parallel HDF5, Rust $RUST_OLDEST and libtorch $TORCH, set HDF5_DIR and LIBTORCH."
    check_packages
    check_rust
    check_libtorch "$wanted"
}

main "$@"
