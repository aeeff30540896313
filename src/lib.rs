//! pgdial: a Postgres sidecar that keeps warm connections, warm plans and warm results.
//!
//! Modules are declared in reading order, floor by floor; a module imports only from lower floors (`tests/tidy.rs`).

pub mod config;
pub mod error;
pub mod metrics;
pub mod pg;
pub mod wire;

pub mod auth;
pub mod cache;
pub mod invalidation;
pub mod plan;
pub mod pool;
pub mod query;
pub mod session;

pub mod engine;

pub mod admin;
pub mod catalog;
pub mod feed;
pub mod net;
pub mod server;

pub mod client;

pub mod source;

pub mod app;
pub mod demo;
