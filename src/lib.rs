//! pgdial: a Postgres sidecar that keeps warm connections, warm plans and warm results.
//!
//! It speaks the Postgres protocol on both sides. Put in front of a correct application it changes nothing but speed.
//!
//! | floor | modules | what |
//! |---|---|---|
//! | 0 words | [`pg`] [`error`] [`metrics`] [`config`] [`wire`] | nouns, errors, counters, the config file, bytes and messages |
//! | 1 parts | [`auth`] [`query`] [`session`] [`plan`] [`cache`] [`invalidation`] [`listen`] [`pool`] | one idea each, pure |
//! | 2 engine | [`engine`] | one client connection, without IO |
//! | 3 IO | [`net`] [`server`] [`catalog`] [`feed`] [`admin`] | sockets, Postgres, its catalog, changes made elsewhere, stats |
//! | 4 client | [`client`] | login, and the loop of a client |
//! | 5 house | [`app`] [`source`] [`demo`] [`import`] | wiring, drain, reload, the demo, other poolers' files |
//!
//! A module imports only from lower floors, or along the edges that `tests/tidy.rs` names. Floors 0 to 2 hold no IO, no clock
//! and no randomness of their own: those come in as arguments, so that three quarters of the product is tested without a
//! socket. There is no global state, no `unsafe`, and no panic on any input: lints deny them.
//!
//! A query's way is told in docs/ARCHITECTURE.md, the promise in docs/CONSISTENCY.md.

pub mod config;
pub mod error;
pub mod metrics;
pub mod pg;
pub mod wire;

pub mod auth;
pub mod cache;
pub mod invalidation;
pub mod listen;
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

pub mod app;
pub mod demo;
pub mod import;
pub mod source;
