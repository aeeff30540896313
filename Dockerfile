# syntax=docker/dockerfile:1
# Two stages: the builder has compilers and libclang (pg_query's bindings), the image only the program.

FROM rust:1.95-slim-bookworm AS builder
RUN apt-get update \
    && apt-get install -y --no-install-recommends build-essential clang libclang-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
# Dependencies first: they change rarely and cost minutes.
COPY Cargo.toml Cargo.lock ./
RUN mkdir src && echo 'fn main() {}' > src/main.rs && touch src/lib.rs \
    && cargo build --release --locked \
    && rm -rf src target/release/deps/pgdial* target/release/deps/libpgdial* target/release/.fingerprint/pgdial-*
COPY . .
RUN cargo build --release --locked && strip target/release/pgdial

FROM debian:bookworm-slim
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin pgdial
COPY --from=builder /src/target/release/pgdial /usr/local/bin/pgdial
USER pgdial
# Inside a container the container is the boundary; clients still need a password. The stats endpoint is published
# only if you publish its port, and calls that change something need PGDIAL_ADMIN_TOKEN from outside.
ENV PGDIAL_LISTEN_ADDRESS=0.0.0.0:6432 \
    PGDIAL_ADMIN_ADDRESS=0.0.0.0:6433
EXPOSE 6432 6433
HEALTHCHECK --interval=5s --timeout=4s --start-period=5s --retries=3 \
    CMD ["pgdial", "check", "--health", "127.0.0.1:6433"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["pgdial"]
CMD ["serve"]
