#!/bin/sh
# COPY of so many MB (1024) out of and into Postgres through pgdial, and one value of 200 MB: how fast, and pgdial's peak memory.
# Everything is thrown away afterwards. Needs a Postgres (PGDIAL_TEST_PGBIN, or Debian's postgresql-15) and a built pgdial.
set -eu

megabytes=${1:-1024}
root=$(cd "$(dirname "$0")/.." && pwd)
pgdial=${PGDIAL:-${CARGO_TARGET_DIR:-$root/target}/debug/pgdial}
bin=${PGDIAL_TEST_PGBIN:-/usr/lib/postgresql/15/bin}
port=$((30100 + $$ % 300))
home=$(mktemp -d)
dialer=

as_postgres() {
    if [ "$(id -u)" = 0 ]; then setpriv --reuid=postgres --regid=postgres --clear-groups -- "$@"; else "$@"; fi
}

finish() {
    if [ -n "$dialer" ]; then kill "$dialer" 2>/dev/null && wait "$dialer" || true; fi
    as_postgres "$bin/pg_ctl" -s -m immediate -D "$home/data" stop || true
    rm -rf "$home"
}
trap finish EXIT
if [ "$(id -u)" = 0 ]; then chown postgres "$home"; fi
as_postgres "$bin/initdb" --no-sync -A trust -U postgres -D "$home/data" >/dev/null
as_postgres "$bin/pg_ctl" -s -w -D "$home/data" -l "$home/postgres.log" \
    -o "-p $port -k $home -c fsync=off -c max_wal_size=8GB" start
PGDIAL_LISTEN_ADDRESS=127.0.0.1:$((port + 1)) PGDIAL_ADMIN_ADDRESS='' PGDIAL_AUTH_METHOD=trust \
    "$pgdial" serve --upstream "postgres://postgres@127.0.0.1:$port/postgres" >"$home/pgdial.log" 2>&1 &
dialer=$!
sleep 1

through() { "$bin/psql" -X -q -h 127.0.0.1 -p "$1" -U postgres postgres -c "$2"; }
peak() { awk '/VmHWM/ { print int($2 / 1024) " MB" }' "/proc/$dialer/status"; }
timed() {
    began=$(date +%s.%N)
    "$@"
    echo "  $(echo "$(date +%s.%N) $began" | awk '{ printf "%.1f s", $1 - $2 }'), pgdial's peak so far $(peak)"
}

rows=$((megabytes * 1024))
select="select g, repeat('x', 1013) from generate_series(1, $rows) g"
out() { through "$1" "copy ($select) to stdout" | wc -c; }
both() { through $((port + 1)) "copy ($select) to stdout" | through $((port + 1)) "copy t from stdin"; }
wide() { through $((port + 1)) "select repeat('x', 200000000)" | wc -c; }

through "$port" "create unlogged table t (a int, b text)"
echo "at rest: $(peak)"
echo "out, straight" && timed out "$port"
echo "out, through pgdial" && timed out $((port + 1))
echo "out and in at once, through pgdial" && timed both
echo "one value of 200 MB" && timed wide
through "$port" "select count(*), sum(length(b)) from t"
