//! Floor 1. Fences, open outcomes, and a register written and read by many threads.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

use super::*;

#[test]
fn a_footprint_of_an_older_catalog_covers_everything() {
    let bench = Bench::new();
    let footprint = bench.footprint(&[B]);
    bench.database.bump_catalog();
    let plan = bench.plan(&[A]);
    bench.fill(&plan);
    let fence = bench.fence(&footprint);
    assert_eq!(bench.bypass(&plan), NoCache::Fence);
    fence.lower();
    assert!(!bench.hits(&plan));
}

#[test]
fn a_new_catalog_waits_for_fences_of_the_older_one() {
    let bench = Bench::new();
    let (first, second) = (bench.fence(&bench.footprint(&[A])), bench.fence(&bench.footprint(&[B])));
    assert!(bench.database.catalog_mark().is_some(), "fences of this catalog do not matter");
    bench.database.bump_catalog();
    assert_eq!(bench.database.catalog_mark(), None);
    first.lower();
    let open = second.keep_up(Open::ServerLost).unwrap();
    assert_eq!(bench.database.catalog_mark(), None);
    assert!(bench.database.resolve(open));
    assert!(bench.database.catalog_mark().is_some());
    let ddl = bench.fence(&Footprint::Catalog);
    assert_eq!(bench.database.catalog_mark(), None);
    ddl.lower();
    assert!(bench.database.catalog_mark().is_some());
}

#[test]
fn an_open_outcome_keeps_its_fence_until_it_is_known() {
    let bench = Bench::new();
    let plan = bench.plan(&[A]);
    bench.fill(&plan);
    let id = bench.fence(&bench.footprint(&[A])).keep_up(Open::ServerLost).unwrap();
    drop(bench.fence(&bench.footprint(&[A, B])));
    let open: Vec<_> = bench.database.unresolved().iter().map(|u| (u.origin.pid, u.open)).collect();
    assert_eq!(open, [(42, Open::ServerLost), (42, Open::Dropped)]);
    assert_eq!(bench.bypass(&plan), NoCache::Fence);
    assert!(bench.database.resolve(id) && !bench.database.resolve(id));
    assert_eq!(bench.bypass(&plan), NoCache::Fence, "the dropped one is still up");
    bench.database.resolve_all();
    assert!(bench.database.unresolved().is_empty());
    assert!(matches!(bench.lookup(&plan), Lookup::Fill(_)));
    assert!(bench.fence(&Footprint::Nothing).keep_up(Open::ServerLost).is_none());
}

#[test]
fn too_many_open_outcomes_become_one_over_everything() {
    let bench = Bench::new();
    let footprint = bench.footprint(&[B]);
    for _ in 0..5000 {
        let _listed = bench.fence(&footprint).keep_up(Open::ServerLost);
    }
    let open = bench.database.unresolved();
    assert_eq!(open.iter().filter(|u| u.open == Open::Overflow).count(), 1);
    assert!(open.len() <= 4097);
    bench.database.resolve_all();
    assert!(matches!(bench.lookup(&bench.plan(&[B])), Lookup::Fill(_)));
}

#[test]
fn words_of_dropped_tables_do_not_pile_up() {
    let bench = Bench::new();
    let kept = bench.plan(&[A]);
    bench.fill(&kept);
    for oid in 10..10_000 {
        drop(bench.plan(&[RelationId(Oid(oid))]));
    }
    assert!(bench.database.0.slot_count() < 3000, "{}", bench.database.0.slot_count());
    bench.fence(&bench.footprint(&[A])).lower();
    assert!(!bench.hits(&kept), "a word in use stayed the one that writes move");
}

/// A register as Postgres would keep it, its writers behind fences, its readers through the cache.
struct Register {
    bench: Bench,
    plan: ReadPlan,
    footprint: Footprint,
    committed: AtomicU64,
    acknowledged: AtomicU64,
    seen: AtomicU64,
    over: AtomicBool,
}

impl Register {
    fn write(&self, value: u64) {
        let fence = self.bench.fence(&self.footprint);
        self.committed.store(value, SeqCst);
        fence.lower();
        self.acknowledged.store(value, SeqCst);
    }

    fn read(&self) -> bool {
        let floor = self.acknowledged.load(SeqCst).max(self.seen.load(SeqCst));
        let (value, hit) = match self.bench.lookup(&self.plan) {
            Lookup::Hit(entry) => (number(&entry), true),
            Lookup::Wait(join) => (self.wait(&join), false),
            Lookup::Fill(permit) => {
                let value = self.committed.load(SeqCst);
                std::hint::spin_loop();
                permit.publish(&answer(&value.to_le_bytes()), self.bench.now);
                (value, false)
            }
            Lookup::Bypass(_) => (self.committed.load(SeqCst), false),
        };
        assert!(value >= floor, "read {value} after {floor}");
        self.seen.fetch_max(value, SeqCst);
        hit
    }

    fn wait(&self, join: &Join) -> u64 {
        loop {
            match join.try_landed() {
                Some(Joined::Entry(entry)) => return number(&entry),
                Some(Joined::Alone) => return self.committed.load(SeqCst),
                None => std::hint::spin_loop(),
            }
        }
    }
}

fn number(entry: &Entry) -> u64 {
    u64::from_le_bytes(entry.rows[..].try_into().unwrap())
}

#[test]
fn many_threads_never_read_an_old_value() {
    let bench = Bench::new();
    let (plan, footprint) = (bench.plan(&[A]), bench.footprint(&[A]));
    let zero = AtomicU64::default;
    let over = AtomicBool::new(false);
    let register = Register { bench, plan, footprint, committed: zero(), acknowledged: zero(), seen: zero(), over };
    let register = Arc::new(register);
    let hits: u64 = std::thread::scope(|scope| {
        let readers: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    let mut hits = 0;
                    while !register.over.load(SeqCst) {
                        hits += u64::from(register.read());
                    }
                    hits
                })
            })
            .collect();
        for value in 1..=20_000 {
            register.write(value);
            if value % 4 == 0 {
                std::thread::yield_now();
            }
        }
        register.over.store(true, SeqCst);
        readers.into_iter().map(|reader| reader.join().unwrap()).sum()
    });
    assert!(register.bench.hits(&register.plan) || !register.read(), "the last value stays");
    assert!(hits > 0, "readers that never hit prove nothing");
}
