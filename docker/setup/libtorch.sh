# shellcheck shell=bash disable=SC2154 # sourced by ../setup.sh, whose settings it uses
# libtorch: which one fits, and its installation.

# Without MPI, CUDA or Python these two are all that libtorch_cpu.so loads beside itself.
readonly WHEELS_CPU=("torch==$TORCH" nvidia-cuda-cupti==13.0.85 nvidia-cuda-runtime==13.0.96)
# The oldest drivers: of a CUDA release, as NVIDIA's release notes have it, and of CUDA 12 altogether ("minor
# version compatibility"). GPUs below compute capability 7.5 are in the cu126 builds of torch 2.11 alone.
readonly DRIVER_CU130=580 DRIVER_CU128=570 DRIVER_CU126=525

# nvidia_smi FIELD: its value, the lowest of all GPUs.
nvidia_smi() { has nvidia-smi && nvidia-smi --query-gpu="$1" --format=csv,noheader 2> /dev/null | grep '^[0-9]' | sort -V | sed -n 1p; }

# The driver's version, e.g. 535.129.03.
driver_version() {
    nvidia_smi driver_version ||
        sed -n 's/^NVRM.*  \([0-9][0-9]*\.[0-9.]*\) .*/\1/p' /proc/driver/nvidia/version 2> /dev/null || true
}

gpu_is_there() { compgen -G '/dev/nvidia[0-9]*' > /dev/null || [ -n "$(driver_version)" ]; }

# The libtorch that fits this machine's driver and GPUs.
fitting_torch() {
    local driver capability
    gpu_is_there || { echo cpu; return; }
    driver=$(driver_version)
    [ -n "$driver" ] || die "there is an NVIDIA GPU, but nothing tells its driver's version (no /proc/driver/nvidia/version, no nvidia-smi)" \
        "Say which libtorch you want: --torch cpu, cu126, cu128 or cu130."
    capability=$(nvidia_smi compute_cap || true)
    if [ "${driver%%.*}" -lt "$DRIVER_CU126" ]; then
        die "NVIDIA's driver here is $driver; libtorch $TORCH needs $DRIVER_CU126 or later (for CUDA 12.6), $DRIVER_CU130 for CUDA 13" \
            "Ask for a newer driver, or do without the GPU: --torch cpu"
    elif [[ $capability =~ ^[0-9]+\.[0-9]+$ ]] && ! at_least "$capability" 7.5; then
        echo cu126
    elif [ "${driver%%.*}" -ge "$DRIVER_CU130" ]; then
        echo cu130
    elif [ "${driver%%.*}" -ge "$DRIVER_CU128" ]; then
        echo cu128
    else
        echo cu126
    fi
}

# What is in .deps/site: cpu, cu126, ..., or nothing where it is not a finished installation of this version.
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
for name in ["libtorch_cpu.so"] + ["libtorch_cuda.so"] * (kind != "cpu"):
    ctypes.CDLL(f"{lib}/{name}", ctypes.RTLD_GLOBAL)
PYTHON
}

# install_libtorch KIND: into a folder beside, checked, and only then renamed.
install_libtorch() {
    local kind=$1 started=$SECONDS new=$PWD/.deps/site.new need_gib=14 free_gib wheels index hints=()
    case $kind in
        cpu) need_gib=4 wheels=(--no-deps "${WHEELS_CPU[@]}") ;;
        cu130) wheels=("torch==$TORCH") ;;
        *)
            index=${TORCH_INDEX_URL-https://download.pytorch.org/whl/$kind}
            wheels=("torch==$TORCH+$kind")
            [ -z "$index" ] || wheels=(--extra-index-url "$index" "${wheels[@]}")
            hints=("The index that should have it: ${index:-as pip is set, for TORCH_INDEX_URL is empty}"
                "Where that cannot be reached, set TORCH_INDEX_URL to a mirror, or fetch the wheel on another machine with"
                "  pip download torch==$TORCH+$kind --python-version 3.12 --only-binary :all: --index-url https://download.pytorch.org/whl/$kind"
                "and set PIP_FIND_LINKS to the folder.")
            ;;
    esac
    free_gib=$(($(df --output=avail -k .deps/ | tail -n 1) / 1048576))
    [ "$free_gib" -ge "$need_gib" ] || die "libtorch needs $need_gib GiB while it is installed, $prefix has $free_gib free" \
        "Say where there is more: --prefix DIR"
    say "installing libtorch $TORCH ($kind): pip install ${wheels[*]}"
    trap 'rm -rf .deps/site.new .deps/site.new.tmp' EXIT
    rm -rf "$new"
    pip_install "$new" "${wheels[@]}" || die "pip could not install libtorch $TORCH ($kind, above)" "${hints[@]}"
    libtorch_loads "$new" "$kind" || die "the installed libtorch does not load (above)"
    echo "torch $TORCH $kind" > "$new/.complete"
    rm -rf .deps/site
    mv "$new" .deps/site
    ln -sfn site/torch .deps/libtorch
    say "installed libtorch: $(size_of .deps/site) in $((SECONDS - started)) s"
}

names_its_own_libtorch() { [ -n "${LIBTORCH-}" ] && ! [ "$LIBTORCH" -ef .deps/libtorch ]; }

check_libtorch() {
    if names_its_own_libtorch; then
        [ -e "$LIBTORCH/lib/libtorch_cpu.so" ] || die "LIBTORCH is set to $LIBTORCH, which has no lib/libtorch_cpu.so" \
            "Unset it to have libtorch $TORCH installed here."
        say "libtorch: the one that LIBTORCH names, $LIBTORCH"
        return
    fi
    [ "$(libtorch_there)" = "$torch" ] || install_libtorch "$torch"
    say "libtorch: $TORCH ($torch) in $prefix/libtorch"
}
