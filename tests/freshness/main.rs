//! Freshness under load: writers, each the only one of its registers, write them in every way there is; readers read them
//! in every protocol, mostly from memory. A read must never be older than the last write that was acknowledged before it
//! began, nor older than what any read had shown before it began, and never show what was not committed.
//!
//! `PGDIAL_FRESHNESS_SECONDS` (4) is the length of each run, `PGDIAL_FRESHNESS_SEED` (1) what it begins with.
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
#[allow(dead_code, unused_imports, reason = "most of it serves other tests")]
mod support;

mod reads;
mod writes;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use support::pgdial::{Config, Pgdial};
use support::postgres::Postgres;
use support::rng::Rng;
use support::wire::{Client, PATIENCE};

const WRITERS: usize = 8;
const READERS: usize = 8;

/// What is known of one register.
#[derive(Default)]
struct Register {
    /// The last write that was acknowledged.
    acknowledged: AtomicI64,
    /// The last write that was begun: nothing newer can be seen.
    begun: AtomicI64,
    /// The newest that any read has shown.
    seen: AtomicI64,
    /// How it was written last.
    way: Mutex<&'static str>,
}

struct World {
    pgdial: Pgdial,
    database: String,
    /// Of each writer two: `t<w>`, written in all ways, and `f<w>`, which a foreign key writes.
    registers: Vec<[Register; 2]>,
    stop: AtomicBool,
    reads: AtomicU64,
    writes: AtomicU64,
    /// Writes and reads that failed, as they may while backends are killed.
    failed: AtomicU64,
    ways: Mutex<BTreeMap<&'static str, u64>>,
    broken: Mutex<Option<String>>,
}

impl World {
    fn new(what: &str) -> Self {
        let postgres = Postgres::shared();
        let database = postgres.database(what);
        let mut owner = postgres.client("app", &database);
        owner.rows("create table label (k int primary key, name text); insert into label values (1, 'one')");
        for writer in 0..WRITERS {
            owner.rows(&writes::schema(writer));
        }
        let config = Config::new(postgres, &database).pool(12).cached().text("log", "level", "info");
        Self {
            pgdial: Pgdial::start(&config),
            database,
            registers: (0..WRITERS).map(|_| Default::default()).collect(),
            stop: AtomicBool::new(false),
            reads: AtomicU64::new(0),
            writes: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            ways: Mutex::default(),
            broken: Mutex::new(None),
        }
    }

    /// A client through pgdial; tries again while servers are being killed.
    fn client(&self) -> Client {
        let end = Instant::now() + PATIENCE;
        loop {
            let login = [("user", "app"), ("database", self.database.as_str())];
            if let Some(client) = Client::try_login(self.pgdial.addr(), &login) {
                return client;
            }
            assert!(Instant::now() < end, "nobody can log in any more");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn goes_on(&self) -> bool {
        !self.stop.load(SeqCst)
    }

    fn breaks(&self, what: String) {
        self.broken.lock().unwrap().get_or_insert(what);
        self.stop.store(true, SeqCst);
    }
}

fn env(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().map_or(otherwise, |text| text.parse().expect("a number"))
}

/// Ends a server of pgdial's now and then, and now and then one of its control connections.
fn kill(world: &World, rng: &mut Rng) {
    while world.goes_on() {
        std::thread::sleep(Duration::from_millis(300));
        let control = if rng.chance(15) { "" } else { "not" };
        let text = format!(
            "select pg_terminate_backend(pid) from (select pid from pg_stat_activity where datname = '{}' and pid <> pg_backend_pid() \
             and application_name {control} like 'pgdial%' order by random() limit 1) victim",
            world.database
        );
        Postgres::shared().sql("postgres", &text);
    }
}

fn run(what: &str, storm: bool) {
    let world = World::new(what);
    let seed = env("PGDIAL_FRESHNESS_SEED", 1);
    let length = Duration::from_secs(env("PGDIAL_FRESHNESS_SECONDS", 4));
    std::thread::scope(|scope| {
        let world = &world;
        let guarded = |role: String, work: Box<dyn FnOnce() + Send>| {
            if let Err(panic) = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)) {
                let text = panic.downcast_ref::<String>().cloned().unwrap_or_else(|| "panic".into());
                world.breaks(format!("{role}: {text}"));
            }
        };
        for index in 0..WRITERS {
            let rng = Rng::new(seed * 1000 + index as u64);
            scope.spawn(move || guarded(format!("writer {index}"), Box::new(move || writes::run(world, index, rng, storm))));
        }
        for index in 0..READERS {
            let rng = Rng::new(seed * 1000 + 500 + index as u64);
            scope.spawn(move || guarded(format!("reader {index}"), Box::new(move || reads::run(world, rng))));
        }
        if storm {
            let mut rng = Rng::new(seed * 1000 + 900);
            scope.spawn(move || guarded("killer".into(), Box::new(move || kill(world, &mut rng))));
        }
        let end = Instant::now() + length;
        while world.goes_on() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(20));
        }
        world.stop.store(true, SeqCst);
    });
    let cache = world.pgdial.stats()["cache"].clone();
    let [reads, writes, failed] = [&world.reads, &world.writes, &world.failed].map(|count| count.load(SeqCst));
    println!("{what}: {reads} reads, {writes} writes, {failed} failed; {:?}", world.ways.lock().unwrap());
    println!("{what}: {cache}");
    if let Some(broken) = world.broken.lock().unwrap().as_ref() {
        panic!("seed {seed}: {broken}\n{cache}");
    }
    assert!(world.pgdial.stat("cache.hits") > 0, "nothing came from memory: {cache}");
    settles(&world);
}

/// When all is quiet no fence is left, and memory answers again.
fn settles(world: &World) {
    let limit = Duration::from_secs(10);
    support::process::eventually("no fence stays up", limit, || {
        world.pgdial.stats()["cache"]["unresolved"].as_array().expect("a list").is_empty()
    });
    let mut client = world.client();
    let before = world.pgdial.stat("cache.hits");
    support::process::eventually("memory answers again", limit, || {
        client.query("select n from t0 where k = 1");
        world.pgdial.stat("cache.hits") > before
    });
}

/// One after the other: each wants the whole machine.
static ONE: Mutex<()> = Mutex::new(());

#[test]
fn in_calm_weather() {
    let _one = ONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    run("calm", false);
}

#[test]
fn while_backends_are_killed_and_clients_vanish() {
    let _one = ONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    run("storm", true);
}
