//! The outside tests, one binary: a real Postgres, the pgdial binary, raw sockets and real drivers.
//! Each test has a database of its own, so all of them run in parallel.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::wildcard_enum_match_arm,
    reason = "a test fails by panicking, and its helpers do so for it"
)]

#[path = "../support/mod.rs"]
mod support;

mod attacks;
mod auth;
mod bounds;
mod cancel;
mod console;
mod defaults;
mod drivers;
mod faults;
mod freshness;
mod half_closed;
mod identity;
mod isolation;
mod limits;
mod listen;
mod pins;
mod plans;
mod replication;
mod routines;
mod scripts;
mod secure;
mod sessions;
mod sql;
mod tls;
mod tools;
mod traps;
