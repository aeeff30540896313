#!/bin/sh
# Installs what the build and the tests need and is missing; without apt, or without the right to use it, says what.
set -eu

missing=""
need() { missing="$missing $1"; }
any() { for file in "$@"; do [ -e "$file" ] && return 0; done; return 1; }

command -v cc >/dev/null || need build-essential
command -v clang >/dev/null || need clang
# pg_query's bindings are made by libclang at build time.
[ -n "${LIBCLANG_PATH:-}" ] || any /usr/lib/llvm-*/lib/libclang*.so* /usr/lib*/libclang*.so* /usr/lib/*/libclang*.so* \
    /usr/local/lib/libclang*.so* /opt/homebrew/opt/llvm/lib/libclang* || need libclang-dev
# The demo and the outside tests start a Postgres of their own; a system cluster is neither needed nor touched.
command -v initdb >/dev/null || any /usr/lib/postgresql/*/bin/initdb || need postgresql
command -v psql >/dev/null || need postgresql-client

if [ -n "$missing" ]; then
    sudo=""
    if [ "$(id -u)" != 0 ]; then sudo="sudo -n"; fi
    if command -v apt-get >/dev/null && { [ -z "$sudo" ] || sudo -n true 2>/dev/null; }; then
        echo "installing:$missing"
        DEBIAN_FRONTEND=noninteractive
        export DEBIAN_FRONTEND
        $sudo apt-get update -qq
        # shellcheck disable=SC2086
        $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
    else
        echo "please install (names as in Debian):$missing" >&2
        echo "  Fedora: dnf install gcc clang clang-devel postgresql-server postgresql" >&2
        echo "  macOS:  brew install llvm postgresql@17" >&2
        exit 1
    fi
fi

if ! command -v cargo >/dev/null; then
    echo "cargo was not found: install Rust from https://rustup.rs and open a new shell" >&2
    exit 1
fi
