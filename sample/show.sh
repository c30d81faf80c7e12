# shellcheck shell=bash # sourced by demo.sh and demo-db.sh

# Shows a command as one would type it, and runs it.
run() {
    local word shown=()
    for word; do
        case $word in *[[:space:]\;\&?\(]*) word="\"$word\"" ;; esac
        shown+=("$word")
    done
    printf '\n$ %s\n' "${shown[*]}"
    "$@"
}
