# make run    a throw-away Postgres, pgdial in front of it, live figures; ARGS=--once ends by itself
# make test   what CI runs: format, clippy, every test
# make help   the rest

ARGS ?=
SECONDS ?= 60
SESSIONS ?= 20000
CARGO ?= cargo

.PHONY: run test test-versions regress drivers bench fuzz soak lint setup help

run: setup
	$(CARGO) build --release --locked
	@target="$${CARGO_TARGET_DIR:-target}"; exec "$$target/release/pgdial" demo $(ARGS)

test: setup
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	$(CARGO) test --locked --doc --quiet
	$(CARGO) test --locked --no-fail-fast --lib --bins --tests

# The outside tests on other versions of Postgres: those installed, and 17 and 18 from npm.
test-versions: setup
	$(CARGO) test --locked --no-run --test it
	@set -e; target="$${CARGO_TARGET_DIR:-target}"; \
	for bin in /usr/lib/postgresql/*/bin $$(sh scripts/versions.sh "$$target/postgres"); do \
	    test -x "$$bin/initdb" || continue; \
	    echo "== $$("$$bin/postgres" --version)"; \
	    PGDIAL_TEST_PGBIN="$$bin" $(CARGO) test --locked --no-fail-fast --test it; \
	done

# PostgreSQL's own regression suite, straight and through pgdial in transaction mode; its sources are fetched.
regress: setup
	$(CARGO) build --locked
	sh tests/regress/run.sh straight lifo round-robin.crowd

# Applications' own drivers, in a folder of their own: straight, with SCRAM, with TLS.
drivers: setup
	$(CARGO) build --locked
	sh tests/drivers/run.sh

lint:
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps --quiet
	@if command -v cargo-deny >/dev/null; then cargo deny check; \
	else echo "cargo-deny is not installed, deny.toml was not checked (cargo install cargo-deny)"; fi

# Beside straight Postgres and, where it is installed, PgBouncer; what the figures mean: docs/BENCHMARKS.md.
bench: setup
	$(CARGO) build --release --locked
	@target="$${CARGO_TARGET_DIR:-target}"; exec python3 benches/peers/run.py --pgdial "$$target/release/pgdial" $(ARGS)

# Blind mutation of every target for so long, on stable Rust; with cargo-fuzz, coverage guides it: see fuzz/Cargo.toml.
fuzz:
	cd fuzz && $(CARGO) run --release --locked -- $(SECONDS)

# Many random sessions, straight and through pgdial.
soak: setup
	PGDIAL_SESSIONS=$(SESSIONS) $(CARGO) test --locked --release --test it sessions

setup:
	@sh scripts/setup.sh

help:
	@echo "run [ARGS=--once]   demo with a throw-away Postgres"
	@echo "test                format, clippy, every test"
	@echo "test-versions       the outside tests on each installed Postgres, and on 17 and 18"
	@echo "regress             PostgreSQL's own regression suite, straight and through pgdial"
	@echo "drivers             psycopg, asyncpg, SQLAlchemy and node-postgres"
	@echo "lint                format, clippy, doc, cargo-deny"
	@echo "bench [ARGS=...]    beside straight Postgres and PgBouncer, about 6 minutes"
	@echo "fuzz [SECONDS=60]   each fuzz target for so long"
	@echo "soak [SESSIONS=N]   random sessions, straight and through pgdial"
	@echo "setup               installs what is missing (Debian), or says what"
