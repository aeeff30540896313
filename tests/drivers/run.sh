#!/bin/sh
# Runs the drivers of other languages as applications use them.
#
#   run.sh DSN [DSN ..]    against whatever the URLs lead to: Postgres itself, or pgdial
#   run.sh                 a private Postgres, and pgdial in front of it: straight, through pgdial with SCRAM, with SCRAM and TLS
#
# The drivers are installed once, in $PGDIAL_DRIVERS_CACHE (default ~/.cache/pgdial-drivers). Ends non-zero on any error.
# Without arguments it needs PGDIAL_BIN, or a built target/{release,debug}/pgdial.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
cache=${PGDIAL_DRIVERS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/pgdial-drivers}

install_drivers() {
    mkdir -p "$cache"
    if [ ! -x "$cache/venv/bin/python" ]; then
        python3 -m venv "$cache/venv" || { echo "python3 with venv is needed (Debian: apt-get install python3-venv)" >&2; exit 1; }
    fi
    "$cache/venv/bin/pip" install -q --disable-pip-version-check 'psycopg[binary]>=3.2,<4' 'asyncpg>=0.30,<1' 'sqlalchemy>=2,<3'
    command -v npm >/dev/null || { echo "node and npm are needed (Debian: apt-get install nodejs npm)" >&2; exit 1; }
    [ -d "$cache/node_modules/pg-cursor" ] || npm install --silent --no-audit --no-fund --prefix "$cache" pg@8 pg-cursor@2
}

# One DSN through every driver.
drive() {
    echo "== $2"
    for scenario in psycopg asyncpg sqlalchemy; do
        "$cache/venv/bin/python" "$here/${scenario}_scenario.py" --dsn "$1" || { echo "FAILED: $scenario, $2" >&2; failed=1; }
    done
    NODE_PATH="$cache/node_modules" node "$here/node_scenario.js" --dsn "$1" || { echo "FAILED: node, $2" >&2; failed=1; }
}

pgbin() {
    for dir in "${PGDIAL_TEST_PGBIN:-}" /usr/lib/postgresql/*/bin $(echo "$PATH" | tr ':' ' '); do
        if [ -x "$dir/initdb" ]; then echo "$dir"; return; fi
    done
    echo "no Postgres found: install postgresql, or set PGDIAL_TEST_PGBIN" >&2
    exit 1
}

# Postgres refuses to run as root.
unroot() {
    if [ "$(id -u)" = 0 ]; then setpriv --reuid postgres --regid postgres --clear-groups "$@"; else "$@"; fi
}

stop() {
    [ -z "${pgdial_pid:-}" ] || kill "$pgdial_pid" 2>/dev/null || true
    [ -z "${pgdial_pid:-}" ] || wait "$pgdial_pid" 2>/dev/null || true
    [ ! -s "$work/data/postmaster.pid" ] || kill -QUIT "$(head -1 "$work/data/postmaster.pid")" 2>/dev/null || true
    sleep 0.3
    rm -rf "$work"
}

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

start_postgres() {
    bin=$(pgbin)
    pg_port=$(free_port)
    [ "$(id -u)" != 0 ] || chown postgres "$work"
    cd "$work"
    unroot "$bin/initdb" --no-sync --no-instructions -A trust -U postgres -E UTF8 --locale=C -D "$work/data" >/dev/null
    {
        echo "local all all trust"
        echo "host all postgres 127.0.0.1/32 trust"
        echo "host all all 127.0.0.1/32 scram-sha-256"
    } >"$work/data/pg_hba.conf"
    unroot "$bin/postgres" -D "$work/data" -p "$pg_port" -k "$work" -c fsync=off -c listen_addresses=127.0.0.1 2>"$work/postgres.log" &
    i=0
    until "$bin/psql" -qX -h 127.0.0.1 -p "$pg_port" -U postgres -c "select 1" >/dev/null 2>&1; do
        i=$((i + 1)); [ $i -lt 100 ] || { cat "$work/postgres.log" >&2; exit 1; }; sleep 0.1
    done
    "$bin/psql" -qX -h 127.0.0.1 -p "$pg_port" -U postgres -c "create role app login password 'secret'" -c "create database app owner app"
}

start_pgdial() {
    pgdial=${PGDIAL_BIN:-}
    for file in "${CARGO_TARGET_DIR:-$root/target}/release/pgdial" "${CARGO_TARGET_DIR:-$root/target}/debug/pgdial"; do
        [ -n "$pgdial" ] || [ ! -x "$file" ] || pgdial=$file
    done
    [ -n "$pgdial" ] || { echo "no pgdial found: cargo build, or set PGDIAL_BIN" >&2; exit 1; }
    openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext "subjectAltName=DNS:localhost,IP:127.0.0.1" \
        -keyout "$work/key.pem" -out "$work/cert.pem" 2>/dev/null
    dial_port=$(free_port)
    cat >"$work/pgdial.toml" <<TOML
[listen]
address = "127.0.0.1:$dial_port"
tls = "prefer"
tls_cert = "$work/cert.pem"
tls_key = "$work/key.pem"
[upstream]
url = "postgres://app:secret@127.0.0.1:$pg_port/app"
[pool]
size = 8
[admin]
address = ""
TOML
    # Our own variables are no settings of pgdial, which refuses what it does not know.
    env -u PGDIAL_BIN -u PGDIAL_DRIVERS_CACHE "$pgdial" serve -c "$work/pgdial.toml" >"$work/pgdial.log" 2>&1 &
    pgdial_pid=$!
    i=0
    until PGPASSWORD=secret "$bin/psql" -qX "postgres://app@127.0.0.1:$dial_port/app" -c "select 1" >/dev/null 2>&1; do
        i=$((i + 1)); [ $i -lt 100 ] || { cat "$work/pgdial.log" >&2; exit 1; }; sleep 0.1
    done
}

failed=0
install_drivers
if [ $# -gt 0 ]; then
    for dsn in "$@"; do drive "$dsn" "$dsn"; done
    exit $failed
fi
work=$(mktemp -d)
chmod 755 "$work"
trap stop EXIT INT TERM
start_postgres
drive "postgresql://app:secret@127.0.0.1:$pg_port/app?sslmode=disable" "straight, SCRAM"
start_pgdial
drive "postgresql://app:secret@127.0.0.1:$dial_port/app?sslmode=disable" "through pgdial, SCRAM"
drive "postgresql://app:secret@127.0.0.1:$dial_port/app?sslmode=require" "through pgdial, SCRAM and TLS"
"$cache/venv/bin/python" "$here/console_scenario.py" --dsn "postgresql://app:secret@127.0.0.1:$dial_port/app?sslmode=require" ||
    { echo "FAILED: console" >&2; failed=1; }
exit $failed
