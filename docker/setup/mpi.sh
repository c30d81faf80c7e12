# shellcheck shell=bash disable=SC2154 # sourced by ../setup.sh, whose settings it uses
# MPI and a parallel HDF5 that is made with it.

readonly MULTIARCH=/usr/lib/x86_64-linux-gnu

# conda_of PATH: the conda environment that a path lies in, if any.
conda_of() {
    local path
    for path in "$1" "$(readlink -f "$1")"; do
        while [ "$path" != / ] && [ "$path" != . ]; do
            [ ! -d "$path/conda-meta" ] || { echo "$path"; return; }
            path=$(dirname "$path")
        done
    done
}

refuse_conda() {
    local conda
    [ "${HYPERSLAB_ALLOW_CONDA-}" != 1 ] || return 0
    conda=$(conda_of "$2")
    [ -z "$conda" ] || die "$1 is that of a conda environment: $2" \
        "A conda MPI knows neither this machine's network nor its launcher, and conda's HDF5 is mostly serial." \
        "Deactivate the environment ($conda), or name another in $3." \
        "To use it all the same: HYPERSLAB_ALLOW_CONDA=1, for the build as well."
}

# "openmpi" or "mpich", by the header behind the wrapper: MPICH's descendants say so in theirs.
mpi_family() {
    local macros
    macros=$("$mpicc" -E -dM -include mpi.h -x c /dev/null 2> /dev/null) || return 0
    case $macros in
        *OMPI_MAJOR_VERSION*) echo openmpi ;;
        *MPICH_VERSION* | *I_MPI_VERSION*) echo mpich ;;
    esac
}

# use_hdf5 INCLUDE LIB: takes it if it is parallel and made with this MPI; else says why not in hdf5_problem.
use_hdf5() {
    local include=$1 lib=$2 conf linked
    conf=$(compgen -G "$include/H5pubconf*.h" | head -n 1) || true
    if [ -z "$conf" ] || [ ! -e "$lib/libhdf5.so" ]; then
        hdf5_problem="no HDF5 in $include and $lib (H5pubconf.h, libhdf5.so)"
    elif ! grep -q '^#define H5_HAVE_PARALLEL 1' "$include"/H5pubconf*.h; then
        hdf5_problem="the HDF5 of $include is a serial one (no H5_HAVE_PARALLEL)"
    else
        # libmpi.so.40 is Open MPI's, libmpi.so.12 and libmpich.so.12 are of MPICH's family.
        linked=$(grep -a -o 'libmpi[a-z0-9_]*\.so\.[0-9]*' "$lib/libhdf5.so" | sort -u | head -n 1) || true
        case "$(mpi_family) $linked" in
            "openmpi "*.so.12 | "mpich "*.so.[2-9]0)
                hdf5_problem="the HDF5 of $include is made with another MPI ($linked) than $mpicc" ;;
            *) hdf5_include=$include hdf5_lib=$lib; return ;;
        esac
    fi
    return 1
}

# The same, by a compiler wrapper's own words or pkg-config's.
use_hdf5_flags() {
    local include lib
    include=$(grep -o -E -- '-I *[^ ]+' <<< "$1" | sed 's/^-I *//' | while read -r d; do
        [ -z "$(compgen -G "$d/H5pubconf*.h")" ] || { echo "$d"; break; }; done) || true
    lib=$(grep -o -E -- '(-L *|/)[^ ]*' <<< "$1" | sed -e 's/^-L *//' -e 's,/libhdf5\.[^/]*$,,' | while read -r d; do
        [ ! -e "$d/libhdf5.so" ] || { echo "$d"; break; }; done) || true
    [ -n "$include$lib" ] && use_hdf5 "${include:-${lib%/*}/include}" "${lib:-${include%/*}/lib}"
}

# Finds a parallel HDF5 made with this MPI: what is named, then modules' variables and wrappers, then Debian's.
find_hdf5() {
    local root
    if [ -n "${HDF5_DIR-}" ]; then
        use_hdf5 "$HDF5_DIR/include" "$HDF5_DIR/lib" || { hdf5_problem="HDF5_DIR=$HDF5_DIR: $hdf5_problem"; return 1; }
        return
    fi
    for root in "${HDF5_ROOT-}" "${HDF5_HOME-}" "${EBROOTHDF5-}"; do
        [ -z "$root" ] || ! use_hdf5 "$root/include" "$root/lib" || return 0
    done
    case "$(command -v h5pcc)" in
        '' | /usr/bin/*) ;;
        *) use_hdf5_flags "$(h5pcc -show 2> /dev/null) -I$(dirname "$(dirname "$(command -v h5pcc)")")/include" && return ;;
    esac
    root=$MULTIARCH/hdf5/$(mpi_family)
    [ ! -d "$root/include" ] || ! use_hdf5 "$root/include" "$root/lib" || return 0
    ! has h5pcc || ! use_hdf5_flags "$(h5pcc -show 2> /dev/null)" || return 0
    for root in "hdf5-$(mpi_family)" hdf5; do
        use_hdf5_flags "$(pkg-config --cflags --libs --keep-system-cflags --keep-system-libs "$root" 2> /dev/null)" && return
    done
    hdf5_problem="parallel HDF5${hdf5_problem:+ ($hdf5_problem)}: module load hdf5-parallel (or phdf5, cray-hdf5-parallel), or set HDF5_DIR"
    return 1
}

find_mpi_and_hdf5() {
    has "$mpicc" || die "there is no $mpicc in PATH ($PATH)"
    refuse_conda "the MPI ($mpicc)" "$(command -v "$mpicc")" MPICC
    find_hdf5 || die "$hdf5_problem"
    refuse_conda "the HDF5" "$hdf5_include" HDF5_DIR
}

link_hdf5() {
    # .cargo/config.toml names this place, unless HDF5_DIR does.
    if [ -z "${HDF5_DIR-}" ]; then
        mkdir -p .deps/hdf5
        ln -sfn "$hdf5_include" .deps/hdf5/include
        ln -sfn "$hdf5_lib" .deps/hdf5/lib
    fi
    say "MPI: $(mpi_family) by $(command -v "$mpicc"); parallel HDF5: $hdf5_lib"
}

# Where the libraries' names stay and what they stand for changes (another module, --mpi), mpi-sys and
# hdf5-metno-sys would go on with what they have made of the others.
forget_other_bindings() {
    local target=${CARGO_TARGET_DIR:-target} now
    now="$(command -v "$mpicc") $("$mpicc" -show 2> /dev/null) $hdf5_include $hdf5_lib"
    if [ -e "$target/.mpi-and-hdf5" ] && [ "$(< "$target/.mpi-and-hdf5")" != "$now" ]; then
        say "MPI or HDF5 is another than at the last build: their bindings will be made anew"
        cargo clean --quiet --locked --release -p mpi-sys -p hdf5-metno-sys -p hyperslab
    fi
    mkdir -p "$target"
    echo "$now" > "$target/.mpi-and-hdf5"
}
