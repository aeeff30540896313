//! Engines against model servers: seeded, in virtual time, without a socket.
//!
//! Clients send batches of messages that need not make sense, in pieces, pipelined, and go away when they like; servers
//! are leased in turn, say things nobody asked for, and crash. After each step: what a client was told is what a private
//! server would have told it; no server is given back that is not as good as new; nobody reads a value older than one
//! that was acknowledged before.
//!
//! `PGDIAL_SIM_SEEDS=20000 cargo test --test sim` runs more; `PGDIAL_SIM_SEED=17` runs one, and tells what happened.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "a test: what should not happen ends it"
)]

mod memory;
mod model;
#[path = "../support/rng.rs"]
mod rng;
mod sql;
mod traffic;
mod transcript;
mod world;

use std::sync::Arc;

use pgdial::engine::{Reader, Shared};
use pgdial::query::Classifier;

use world::World;

fn reader() -> Arc<Reader> {
    Arc::new(Reader {
        set: 0,
        role: "app".into(),
        search_path: vec!["public".into()],
        settings: b"".as_slice().into(),
        read_committed: true,
    })
}

fn run(seed: u64, classifier: &Arc<Classifier>) -> Result<[u64; 3], String> {
    let cache = seed.is_multiple_of(2).then(memory::cache);
    let shared = Arc::new(Shared::new(Arc::clone(classifier), world::PREFIX, cache));
    let mut world = World::new(seed, &shared, reader());
    let outcome =
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| world.run())).unwrap_or_else(|_| Err("panic".to_owned()));
    outcome.map(|()| world.served()).map_err(|what| {
        let from = world.trace.len().saturating_sub(if env("PGDIAL_SIM_SEED").is_some() { 2000 } else { 40 });
        format!("seed {seed}, step {}: {what}\n{}", world.trace.len(), world.trace[from..].join("\n"))
    })
}

fn env(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn every_client_is_told_what_postgres_would_tell_it() {
    let classifier = Arc::new(Classifier::default());
    if let Some(seed) = env("PGDIAL_SIM_SEED") {
        let _totals = run(seed, &classifier).unwrap_or_else(|failure| panic!("{failure}"));
        return;
    }
    let seeds = env("PGDIAL_SIM_SEEDS").unwrap_or(300);
    let mut totals = [0; 3];
    let mut failures = Vec::new();
    for seed in 0..seeds {
        match run(seed, &classifier) {
            Ok(more) => totals.iter_mut().zip(more).for_each(|(total, more)| *total += more),
            Err(failure) => failures.push(failure),
        }
    }
    let shortest = failures.iter().min_by_key(|failure| failure.lines().count() + failure.len() / 1000);
    if let Some(shortest) = shortest {
        let heads: Vec<&str> = failures.iter().filter_map(|failure| failure.lines().next()).take(20).collect();
        panic!("{} of {seeds} seeds failed:\n{}\n\n{shortest}", failures.len(), heads.join("\n"));
    }
    println!("{seeds} seeds; hits, joined reads, fills: {totals:?}");
    assert!(totals.iter().all(|total| *total > 0), "the cache was not in play: {totals:?}");
}

#[test]
fn a_seed_gives_the_same_run_each_time() {
    let classifier = Arc::new(Classifier::default());
    let trace = || {
        let shared = Arc::new(Shared::new(Arc::clone(&classifier), world::PREFIX, None));
        let mut world = World::new(4, &shared, reader());
        let _outcome = world.run();
        world.trace
    };
    assert_eq!(trace(), trace());
}
