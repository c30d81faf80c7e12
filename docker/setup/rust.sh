# shellcheck shell=bash disable=SC2154 # sourced by ../setup.sh, whose settings it uses
# A Rust toolchain.

cargo_version() { cargo --version 2> /dev/null | cut -d ' ' -f 2; }
rust_is_there() { local v; v=$(cargo_version) && [ -n "$v" ] && has rustc && at_least "$v" "$RUST_OLDEST"; }

# Fetches rustup itself and checks its digest; nothing is run that did not arrive whole.
install_rustup() {
    local target from dir
    target=$(uname -m)-unknown-linux-gnu
    from=${RUSTUP_UPDATE_ROOT:-https://static.rust-lang.org/rustup}/dist/$target/rustup-init
    dir=$(mktemp -d "$PWD/.deps/rustup.XXXXXX")
    if curl -sSfL --retry 3 -o "$dir/rustup-init" "$from" && curl -sSfL --retry 3 -o "$dir/sum" "$from.sha256" &&
        echo "$(cut -d ' ' -f 1 "$dir/sum")  $dir/rustup-init" | sha256sum --check --status; then
        chmod +x "$dir/rustup-init"
        TMPDIR=$dir "$dir/rustup-init" -y --quiet --no-modify-path --profile minimal -c clippy -c rustfmt \
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
    uses_apt || die "rustup cannot be had from ${RUSTUP_UPDATE_ROOT:-https://static.rust-lang.org/rustup}" \
        "Set RUSTUP_UPDATE_ROOT and RUSTUP_DIST_SERVER to a mirror, or load Rust $RUST_OLDEST or later: module load rust"
    say "rustup cannot be had; trying Debian's cargo-web"
    install_packages cargo-web rustc-web rustfmt-web
    hash -r
    rust_is_there || die "Debian's cargo-web is $(cargo_version), $RUST_OLDEST or later is needed: see https://rustup.rs"
}

check_rust() {
    rust_is_there || install_rust
    say "Rust: cargo $(cargo_version) in $(dirname "$(command -v cargo)")"
}
