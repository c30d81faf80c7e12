#!/usr/bin/env bash
# A PostgreSQL with pgvector in a folder of its own, for the tests, the demo and the benchmark. Nobody else reaches it: it
# listens on a socket in a folder that is its owner's alone. `docker/setup.sh --postgres` installs it.
set -euo pipefail
export LC_ALL=C

usage() {
    cat <<'TEXT'
Usage: sample/postgres.sh start DIR [POSTGRES-OPTION ...]    e.g. -c fsync=off
       sample/postgres.sh stop DIR
       sample/postgres.sh remove DIR

  start    makes the server where there is none, starts it, and prints the URL to connect to; all else that is said goes
           to stderr. One that runs already is left as it is.
  stop     ends the server; its data stay
  remove   ends the server and deletes DIR

As root, which PostgreSQL refuses to run as, the server runs as the user postgres, or nobody, and DIR is given to it. Where
that user cannot get to DIR, everything is in a folder in /tmp, which DIR/elsewhere links to. Where DIR makes the name of
a socket too long, DIR/socket links to a short one.
TEXT
}

say() { printf 'postgres: %s\n' "$*" >&2; }
die() { printf 'postgres: error: %s\n' "$1" >&2; shift; [ $# -eq 0 ] || printf '          %s\n' "$@" >&2; exit 1; }
has() { command -v "$1" > /dev/null 2>&1; }

# ---- whose the server is, and where ---------------------------------------------------------------------------------

# Runs a command as the user whose the server is, with none of the variables that PostgreSQL heeds.
as_server() {
    local clean=(env -i PATH=/usr/bin:/bin LC_ALL=C "$@")
    if [ -z "$user" ]; then
        "${clean[@]}"
    elif has setpriv; then
        setpriv --reuid "$user" --regid "$(id -g "$user")" --clear-groups "${clean[@]}"
    elif has runuser; then
        runuser -u "$user" -- "${clean[@]}"
    else
        su -s /bin/bash "$user" -c "$(printf '%q ' "${clean[@]}")"
    fi
}

choose_user() {
    user=''
    [ "$(id -u)" -eq 0 ] || return 0
    for user in postgres nobody; do
        if id "$user" > /dev/null 2>&1; then return; fi
    done
    die "PostgreSQL does not run as root, and there is neither a user postgres nor nobody"
}

# own FOLDER: it becomes the server's alone.
own() {
    [ -z "$user" ] || chown "$user:" "$1"
    chmod 700 "$1"
}

# What says that a folder was made here, and may be deleted.
readonly MARK=.made-by-postgres.sh
is_ours() { [ -e "$dir/$MARK" ]; }

# new_folder: an empty one that is the server's, under a short name.
new_folder() {
    local folder
    folder=$(mktemp -d /tmp/hyperslab-pg.XXXXXX)
    own "$folder"
    echo "$folder"
}

# delete_new FOLDER: if it is one of those.
delete_new() {
    case $1 in /tmp/hyperslab-pg.??????) rm -rf "$1" ;; esac
}

# Sets home, which has the data, and socket. Links may be left whose folders in /tmp are gone.
find_places() {
    home=$dir socket=$dir
    [ ! -d "$dir/elsewhere" ] || home=$(readlink -f "$dir/elsewhere") socket=$home
    [ ! -d "$home/socket" ] || socket=$(readlink -f "$home/socket")
    data=$home/data
}

make_places() {
    mkdir -p "$dir"
    is_ours || [ -z "$(ls -A "$dir")" ] ||
        die "$dir has files in it that are not this server's" "Name a folder that is empty, or not there."
    touch "$dir/$MARK"
    own "$dir"
    find_places
    if [ "$home" = "$dir" ] && ! as_server test -x "$dir/."; then
        ln -sfn "$(new_folder)" "$dir/elsewhere"
        find_places
        say "the user $user cannot get to $dir: the server is in $home"
    fi
    # sun_path takes 107 bytes; and no character in it may mean anything to a URL or to PostgreSQL's list of folders.
    if ! [[ $socket/.s.PGSQL.$PORT =~ ^[A-Za-z0-9/._-]{1,107}$ ]]; then
        ln -sfn "$(new_folder)" "$home/socket"
        find_places
    fi
}

# Sets programs to where the server's user can run them: a copy, where they are in somebody's home.
find_programs() {
    local wheel copy=$home/pgserver
    programs=$DEPS/bin
    ! as_server test -x "$programs/initdb" || return 0
    # They find their libraries by the folders they are in.
    wheel=$(readlink -f "$DEPS/../..")
    programs=$copy/${DEPS#"$wheel/"}/bin
    cmp -s "$wheel/.complete" "$copy/.complete" || { rm -rf "$copy" && cp -R "$wheel" "$copy" && chmod -R go+rX "$copy"; }
}

is_running() { "$DEPS/bin/pg_isready" -q -h "$socket" -p "$PORT"; }

# ---- what it can be asked for ---------------------------------------------------------------------------------------

make_data() {
    [ ! -e "$data/PG_VERSION" ] || return 0
    rm -rf "$data"
    # The builtin provider needs no locale of the system's.
    as_server "$programs/initdb" -D "$data" -U postgres --auth=trust --encoding=UTF8 --no-locale \
        --locale-provider=builtin --builtin-locale=C.UTF-8 --no-sync --no-instructions > /dev/null ||
        die "initdb failed (above)"
}

# launch POSTGRES-OPTION...: in a session of its own, so that Ctrl-C in this terminal does not end it.
launch() {
    local log=$home/log server deadline=$((SECONDS + 300))
    as_server setsid "$programs/postgres" -D "$data" -k "$socket" -p "$PORT" -c listen_addresses= "$@" \
        > "$log" 2>&1 < /dev/null &
    server=$!
    until is_running; do
        if ! kill -0 "$server" 2> /dev/null || [ "$SECONDS" -ge "$deadline" ]; then
            tail -n 10 "$log" >&2
            die "the server does not start (above; all of it in $log)"
        fi
        sleep 0.05
    done
}

start() {
    make_places
    if is_running; then
        say "runs already in $home"
    else
        find_programs
        make_data
        launch "$@"
        say "runs in $home${user:+ as $user}, pid $(head -n 1 "$data/postmaster.pid")"
    fi
    echo "postgresql:///?host=$socket&port=$PORT&user=postgres"
}

stop() {
    find_places
    find_programs
    if ! as_server "$programs/pg_ctl" status -D "$data" > /dev/null 2>&1; then
        say "does not run in $dir"
        return
    fi
    as_server "$programs/pg_ctl" stop -D "$data" -m fast -w -s || die "the server does not stop (above)"
    say "stopped"
}

remove() {
    [ -e "$dir" ] || return 0
    is_ours || die "$dir was not made by this script: it is left as it is"
    stop
    delete_new "$socket"
    delete_new "$home"
    rm -rf "$dir"
}

[ $# -ge 2 ] || { usage >&2; exit 2; }
command=$1 dir=$(readlink -m "$2")
shift 2
DEPS=$(readlink -f "$(dirname "$0")/../.deps/postgres" || true)
readonly DEPS PORT=5432
# Where one calls from, the server's user may not be allowed to be.
cd /
[ -x "$DEPS/bin/initdb" ] || die "no PostgreSQL in .deps" "Install it: docker/setup.sh --postgres"
case $command in
    start) choose_user && start "$@" ;;
    stop | remove) [ $# -eq 0 ] || { usage >&2; exit 2; } && choose_user && "$command" ;;
    *) usage >&2; exit 2 ;;
esac
