#!/bin/sh
# PostgreSQL's own regression suite as the judge: straight and through pgdial in transaction mode, on a fresh cluster each.
#
#   sh tests/regress/run.sh                    straight, lifo and round-robin; then what differs
#   sh tests/regress/run.sh lifo               one of straight | lifo | round-robin (straight is run when there is none yet)
#   sh tests/regress/run.sh round-robin.crowd  all tests under one application_name: they then share servers, the hardest case
#   TESTS="temp prepare" sh tests/regress/run.sh lifo    test_setup and these alone, one after the other
#
# Needs Debian's postgresql-15 and gcc; the sources of the suite come from the Debian mirror and are never committed.
# Everything is below $CARGO_TARGET_DIR/regress: <run>/results/*.out, <run>/regression.diffs, <run>.differs/*.diff.
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
work=$target/regress
bin=${PGDIAL_TEST_PGBIN:-/usr/lib/postgresql/15/bin}
pg_regress=$("$bin/pg_config" --pgxs | sed 's|/makefiles/pgxs.mk|/test/regress/pg_regress|')
pgdial=${PGDIAL:-$target/debug/pgdial}
port=${PORT:-$((30500 + $$ % 500))}
size=${POOL_SIZE:-40}
mkdir -p "$work"

as_postgres() {
    if [ "$(id -u)" = 0 ]; then setpriv --reuid=postgres --regid=postgres --clear-groups -- "$@"; else "$@"; fi
}

fetch() (
    cd "$work"
    [ -e source/parallel_schedule ] && [ -e lib/regress.so ] && return
    echo "deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian bookworm main" >src.list
    mkdir -p lists/partial
    set -- -o "Dir::Etc::sourcelist=$work/src.list" -o Dir::Etc::sourceparts=- -o "Dir::State::lists=$work/lists"
    apt-get "$@" update >/dev/null
    apt-get "$@" source --download-only postgresql-15 >/dev/null
    apt-get download postgresql-server-dev-15 >/dev/null
    rm -rf headers source lib
    dpkg -x postgresql-server-dev-15_*.deb headers
    mkdir -p unpacked lib
    tar xf postgresql-15_*.orig.tar.bz2 -C unpacked --strip-components=1 --wildcards '*/src/test/regress' '*/contrib/spi'
    mv unpacked/src/test/regress source
    include="-I headers/usr/include/postgresql/15/server -I headers/usr/include/postgresql/internal"
    # shellcheck disable=SC2086
    {
        gcc -O1 -fPIC -shared -w -DDLSUFFIX='".so"' $include -o lib/regress.so source/regress.c
        gcc -O1 -fPIC -shared -w $include -o lib/refint.so unpacked/contrib/spi/refint.c
        gcc -O1 -fPIC -shared -w $include -o lib/autoinc.so unpacked/contrib/spi/autoinc.c
    }
)

start_postgres() {
    as_postgres "$bin/initdb" --no-sync --no-locale -E UTF8 -A trust -U postgres -D "$1/data" >/dev/null
    cat >>"$1/data/postgresql.conf" <<CONF
port = $port
listen_addresses = '127.0.0.1'
unix_socket_directories = '$1'
fsync = off
full_page_writes = off
max_connections = 200
max_prepared_transactions = 2
CONF
    as_postgres "$bin/pg_ctl" -s -w -D "$1/data" -l "$1/postgres.log" start
    "$bin/psql" -qX -h 127.0.0.1 -p "$port" -U postgres postgres -c 'create database regression template template0' \
        -c "alter database regression set lc_messages to 'C'" -c "alter database regression set lc_monetary to 'C'" \
        -c "alter database regression set lc_numeric to 'C'" -c "alter database regression set lc_time to 'C'" \
        -c "alter database regression set bytea_output to 'hex'" \
        -c "alter database regression set timezone_abbreviations to 'Default'"
}

start_pgdial() {
    cat >"$1/pgdial.toml" <<CONF
[upstream]
url = "postgres://postgres@127.0.0.1:$port/regression"
tls = "disable"
[listen]
address = "127.0.0.1:$((port + 1))"
[auth]
method = "trust"
[pool]
mode = "transaction"
size = $size
order = "$2"
checkout_timeout = "30s"
[admin]
address = ""
[log]
level = "${LOG:-info}"
${EXTRA:-}
CONF
    "$pgdial" serve -c "$1/pgdial.toml" >"$1/pgdial.log" 2>&1 &
    dialer=$!
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        "$bin/pg_isready" -q -h 127.0.0.1 -p $((port + 1)) && return
        sleep 0.5
    done
    echo "pgdial does not answer:" && cat "$1/pgdial.log" && exit 2
}

run() {
    home=$work/$1
    rm -rf "$home" && mkdir -p "$home"
    if [ "$(id -u)" = 0 ]; then chown postgres "$home"; fi
    as_postgres cp -r "$work/source" "$home/in"
    as_postgres mkdir "$home/testtablespace"
    start_postgres "$home"
    dialer=
    at=$port
    trap 'stop "$home"' EXIT INT TERM
    if [ "$1" != straight ]; then start_pgdial "$home" "${1%.*}" && at=$((port + 1)); fi
    launcher=
    case $1 in *.crowd) launcher="--launcher=env PGAPPNAME=regress" ;; esac
    if [ -n "${TESTS:-}" ]; then set -- test_setup $TESTS; else set -- "--schedule=$home/in/parallel_schedule"; fi
    (cd "$home" && as_postgres "$pg_regress" --use-existing --bindir="$bin" --dlpath="$work/lib" --inputdir="$home/in" \
        --outputdir="$home" --host=127.0.0.1 --port="$at" --user=postgres --max-concurrent-tests=20 ${launcher:+"$launcher"} "$@" >"$home/summary" 2>&1) || true
    trap - EXIT INT TERM
    stop "$home"
    tail -n 30 "$home/summary" | grep -E '^ *(All|[0-9]+ of)' || tail -n 5 "$home/summary"
}

stop() {
    if [ -n "$dialer" ]; then kill "$dialer" 2>/dev/null && wait "$dialer" || true; fi
    as_postgres "$bin/pg_ctl" -s -m immediate -D "$1/data" stop || true
    rm -rf "$1/data"
}

# What straight Postgres printed against what came through pgdial, file by file.
compare() {
    differs=$work/$1.differs
    rm -rf "$differs" && mkdir -p "$differs"
    same=0
    for out in "$work/straight/results"/*.out; do
        name=$(basename "$out")
        other=$work/$1/results/$name
        if [ ! -e "$other" ]; then
            [ -n "${TESTS:-}" ] || echo missing >"$differs/${name%.out}.diff"
        elif sed "s|$work/straight|HOME|g" "$out" >"$work/a" && sed "s|$work/$1|HOME|g" "$other" >"$work/b" &&
            diff -U3 "$work/a" "$work/b" >"$differs/${name%.out}.diff"; then
            same=$((same + 1))
            rm "$differs/${name%.out}.diff"
        fi
    done
    echo "$1: $same of $(ls "$work/straight/results"/*.out | wc -l) equal to straight; differing, by lines of diff:"
    (cd "$differs" && wc -l -- *.diff 2>/dev/null | sort -n | sed '$d') || true
}

fetch
orders=${*:-straight lifo round-robin}
case " $orders " in
*" straight "*) ;;
*) [ -d "$work/straight/results" ] || (unset TESTS; echo straight; run straight) ;;
esac
for one in $orders; do
    echo "$one"
    run "$one"
    [ "$one" = straight ] || compare "$one"
done
