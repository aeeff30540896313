//! Floor 1. The cache of one database, look-up by look-up, and under many threads.

use std::sync::Arc;
use std::time::{Duration, Instant};

mod fences;

use super::*;
use crate::config::Ttl;
use crate::invalidation::{Change, Footprint};
use crate::pg::{Oid, RelationId};

const A: RelationId = RelationId(Oid(1));
const B: RelationId = RelationId(Oid(2));
const TTL: Duration = Duration::from_secs(60);

struct Bench {
    database: Database,
    now: Instant,
}

impl Bench {
    fn new() -> Self {
        Self::with(Settings { memory: 1 << 20, max_result: 1 << 12, observe: false })
    }

    fn with(settings: Settings) -> Self {
        Self { database: Cache::new(settings, Counter::default()).database("app"), now: Instant::now() }
    }

    fn plan(&self, relations: &[RelationId]) -> ReadPlan {
        let catalog = self.database.catalog_mark().expect("no fence over the catalog");
        let (ttl, empty_ttl) = (Ttl::For(TTL), Ttl::For(TTL / 2));
        ReadPlan::new(&self.database, Reading { relations: relations.to_vec(), ttl, empty_ttl, catalog })
    }

    fn footprint(&self, relations: &[RelationId]) -> Footprint {
        Footprint::of(relations.iter().copied(), self.database.catalog_mark().expect("no fence over the catalog"))
    }

    fn fence(&self, footprint: &Footprint) -> Fence {
        Fence::raise(&self.database, footprint, Origin { pid: 42, since: self.now })
    }

    fn lookup(&self, plan: &ReadPlan) -> Lookup {
        self.lookup_key("k", plan, Columns::NotNeeded)
    }

    fn lookup_key(&self, key: &str, plan: &ReadPlan, columns: Columns) -> Lookup {
        let mut builder = self.database.key_builder();
        self.database.lookup(&builder.part(key.as_bytes()).finish(), plan, columns, self.now)
    }

    fn permit(&self, plan: &ReadPlan) -> FillPermit {
        let found = self.lookup(plan);
        let Lookup::Fill(permit) = found else { panic!("no permit but {found:?}") };
        permit
    }

    fn fill(&self, plan: &ReadPlan) {
        assert!(matches!(self.permit(plan).publish(&answer(b"row"), self.now), Published::Stored(_)));
    }

    fn bypass(&self, plan: &ReadPlan) -> NoCache {
        let found = self.lookup(plan);
        let Lookup::Bypass(reason) = found else { panic!("no bypass but {found:?}") };
        reason
    }

    fn hits(&self, plan: &ReadPlan) -> bool {
        matches!(self.lookup(plan), Lookup::Hit(_))
    }
}

fn answer(rows: &[u8]) -> Answer<'_> {
    Answer { columns: None, rows, tag: b"tag", row_count: 1 }
}

fn joined(lookup: Lookup) -> Join {
    let Lookup::Wait(join) = lookup else { panic!("no flight but {lookup:?}") };
    join
}

#[test]
fn an_answer_is_given_until_its_relation_is_written() {
    let bench = Bench::new();
    let (a, b) = (bench.plan(&[A]), bench.plan(&[B]));
    bench.fill(&a);
    let Lookup::Hit(entry) = bench.lookup(&a) else { panic!("no hit") };
    assert_eq!((&entry.rows[..], &entry.tag[..], entry.columns.is_none()), (&b"row"[..], &b"tag"[..], true));

    bench.fence(&bench.footprint(&[B])).lower();
    assert!(bench.hits(&a), "a write of another relation");
    let fence = bench.fence(&bench.footprint(&[A]));
    assert_eq!(bench.bypass(&a), NoCache::Fence);
    assert!(matches!(bench.lookup_key("b", &b, Columns::NotNeeded), Lookup::Fill(_)));
    fence.lower();
    assert!(matches!(bench.lookup(&a), Lookup::Fill(_)));
    assert_eq!(bench.database.0.shared_entries(), 0, "the dead entry is gone");
}

type Act<'a> = &'a dyn Fn(&Database);

#[test]
fn whatever_moves_a_version_ends_an_entry() {
    let bench = Bench::new();
    let moves: [(&str, Act<'_>); 5] = [
        ("relation", &|d| d.apply(&Change::Relations(vec![A]))),
        ("everything", &|d| d.apply(&Change::Everything)),
        ("feed lost and found", &|d| {
            d.suspend(Suspension::FeedLost);
            d.resume(Suspension::FeedLost);
        }),
        ("fence over everything", &|d| Fence::raise(d, &Footprint::Everything, Origin { pid: 1, since: bench.now }).lower()),
        ("fence over the catalog", &|d| Fence::raise(d, &Footprint::Catalog, Origin { pid: 1, since: bench.now }).lower()),
    ];
    for (name, act) in moves {
        let plan = bench.plan(&[A]);
        bench.fill(&plan);
        assert!(bench.hits(&plan), "{name}");
        act(&bench.database);
        assert!(!bench.hits(&bench.plan(&[A])), "{name}");
    }
}

#[test]
fn the_ttl_counts_from_the_read_and_is_that_of_the_plan() {
    let mut bench = Bench::new();
    let plan = bench.plan(&[A]);
    bench.fill(&plan);
    bench.now += TTL - Duration::from_nanos(1);
    assert!(bench.hits(&plan));
    let shorter = ReadPlan { ttl: Ttl::For(Duration::from_secs(1)), ..plan.clone() };
    bench.now += Duration::from_nanos(1);
    assert!(!bench.hits(&plan), "over");
    bench.fill(&plan);
    bench.now += Duration::from_secs(2);
    assert!(bench.hits(&plan) && !bench.hits(&shorter), "a rule made stricter counts for old entries too");
    let forever = ReadPlan { ttl: Ttl::Forever, ..plan };
    bench.fill(&forever);
    bench.now += TTL * 1000;
    assert!(bench.hits(&forever));
}

#[test]
fn an_empty_answer_has_a_ttl_of_its_own() {
    let mut bench = Bench::new();
    let plan = bench.plan(&[A]);
    let empty = Answer { row_count: 0, ..answer(b"") };
    assert!(matches!(bench.permit(&plan).publish(&empty, bench.now), Published::Stored(_)));
    bench.now += TTL / 2 - Duration::from_nanos(1);
    assert!(bench.hits(&plan));
    bench.now += Duration::from_nanos(1);
    assert!(!bench.hits(&plan));
}

#[test]
fn a_reader_that_needs_columns_takes_no_entry_without() {
    let bench = Bench::new();
    let plan = bench.plan(&[A]);
    bench.fill(&plan);
    let Lookup::Fill(permit) = bench.lookup_key("k", &plan, Columns::Needed) else { panic!("no permit") };
    let with = Answer { columns: Some(b"columns"), ..answer(b"row") };
    assert!(matches!(permit.publish(&with, bench.now), Published::Stored(_)));
    let Lookup::Hit(entry) = bench.lookup_key("k", &plan, Columns::Needed) else { panic!("no hit") };
    assert_eq!(entry.columns.as_deref(), Some(&b"columns"[..]));
    assert!(bench.hits(&plan), "simple and extended protocol share it");
}

#[test]
fn those_who_wait_get_the_answer() {
    let bench = Bench::new();
    let plan = bench.plan(&[A]);
    let permit = bench.permit(&plan);
    let join = joined(bench.lookup(&plan));
    assert!(join.try_landed().is_none());
    assert!(matches!(bench.lookup_key("k", &plan, Columns::Needed), Lookup::Fill(_)), "the flight brings no columns");
    permit.publish(&answer(b"row"), bench.now);
    assert!(matches!(join.try_landed(), Some(Joined::Entry(entry)) if &entry.rows[..] == b"row"));
    assert_eq!(bench.database.flights_in_air(), 0);
}

#[test]
fn those_who_wait_go_alone_when_the_leader_is_gone() {
    let bench = Bench::new();
    let plan = bench.plan(&[A]);
    for ending in 0..2 {
        let permit = bench.permit(&plan);
        let join = joined(bench.lookup(&plan));
        if ending == 0 {
            drop(permit)
        } else {
            drop(permit.too_large(bench.now))
        }
        assert!(matches!(join.try_landed(), Some(Joined::Alone)));
        assert_eq!(bench.database.flights_in_air(), 0);
    }
    assert_eq!(bench.bypass(&plan), NoCache::Large);
}

#[test]
fn waiting_is_woken() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let bench = Bench::new();
    let plan = bench.plan(&[A]);
    let permit = bench.permit(&plan);
    let (first, second) = (joined(bench.lookup(&plan)), joined(bench.lookup(&plan)));
    let (landed, alone) = runtime.block_on(async {
        let publish = async { permit.publish(&answer(b"row"), bench.now) };
        let (landed, _published) = tokio::join!(first.landed(), publish);
        bench.database.bump_everything();
        let permit = bench.permit(&plan);
        let third = joined(bench.lookup(&plan));
        let (alone, ()) = tokio::join!(third.landed(), async { drop(permit) });
        (landed, alone)
    });
    assert!(matches!(landed, Joined::Entry(_)) && matches!(alone, Joined::Alone));
    assert!(matches!(second.try_landed(), Some(Joined::Entry(_))));
}

#[test]
fn a_write_during_a_flight_keeps_its_answer_out_and_later_readers_off() {
    let bench = Bench::new();
    let plan = bench.plan(&[A]);
    let old = bench.permit(&plan);
    let in_time = joined(bench.lookup(&plan));
    let fence = bench.fence(&bench.footprint(&[A]));
    assert_eq!(bench.bypass(&plan), NoCache::Fence, "no join under a fence");
    fence.lower();
    let new = bench.permit(&plan);
    let too_late_for_old = joined(bench.lookup(&plan));
    assert!(matches!(old.publish(&answer(b"old"), bench.now), Published::Refused(NoCache::Moved)));
    assert!(matches!(in_time.try_landed(), Some(Joined::Entry(entry)) if &entry.rows[..] == b"old"));
    assert!(too_late_for_old.try_landed().is_none(), "it waits for the new flight");
    assert!(matches!(new.publish(&answer(b"new"), bench.now), Published::Stored(_)));
    assert!(matches!(too_late_for_old.try_landed(), Some(Joined::Entry(entry)) if &entry.rows[..] == b"new"));
    assert!(matches!(bench.lookup(&plan), Lookup::Hit(entry) if &entry.rows[..] == b"new"));
}

#[test]
fn a_suspension_ends_running_fills_and_a_plan_of_an_older_catalog_is_refused() {
    let bench = Bench::new();
    let plan = bench.plan(&[A]);
    let permit = bench.permit(&plan);
    bench.database.suspend(Suspension::FeedLost);
    assert_eq!(bench.bypass(&plan), NoCache::FeedLost);
    bench.database.suspend(Suspension::Paused);
    bench.database.resume(Suspension::FeedLost);
    assert_eq!(bench.bypass(&plan), NoCache::Suspended);
    bench.database.resume(Suspension::Paused);
    assert!(matches!(permit.publish(&answer(b"row"), bench.now), Published::Refused(NoCache::Moved)));

    bench.database.bump_catalog();
    assert_eq!(bench.bypass(&plan), NoCache::CatalogUnknown);
    assert_eq!(plan.stamp(), Err(NoCache::CatalogUnknown), "also between being let in and being noted");
    assert!(matches!(bench.lookup(&bench.plan(&[A])), Lookup::Fill(_)));
}

#[test]
fn large_results_are_remembered_for_the_ttl() {
    let mut bench = Bench::new();
    let plan = bench.plan(&[A]);
    let large = vec![0; 5000];
    assert!(matches!(bench.permit(&plan).publish(&answer(&large), bench.now), Published::Refused(NoCache::TooLarge)));
    assert_eq!(bench.bypass(&plan), NoCache::Large);
    bench.now += TTL;
    assert!(matches!(bench.lookup(&plan), Lookup::Fill(_)));
}

#[test]
fn the_budget_holds() {
    let bench = Bench::with(Settings { memory: 1 << 18, max_result: 1 << 20, observe: false });
    let plan = bench.plan(&[A]);
    let rows = vec![7; 1500];
    for n in 0..2000 {
        if let Lookup::Fill(permit) = bench.lookup_key(&format!("key {n}"), &plan, Columns::NotNeeded) {
            permit.publish(&answer(&rows), bench.now);
        }
    }
    let (entries, bytes) = (bench.database.0.shared_entries(), bench.database.0.shared_bytes());
    assert!(bytes <= 1 << 18, "{bytes}");
    assert!(entries > 80 && entries * 1500 < bytes, "{entries} entries in {bytes}");
}

#[test]
fn observing_fills_and_counts_and_answers_nothing() {
    let bench = Bench::with(Settings { memory: 1 << 20, max_result: 1 << 12, observe: true });
    let plan = bench.plan(&[A]);
    let permit = bench.permit(&plan);
    assert_eq!(bench.bypass(&plan), NoCache::Observe, "would have waited");
    permit.publish(&answer(b"row"), bench.now);
    assert_eq!(bench.bypass(&plan), NoCache::Observe, "would have hit");
    let totals = bench.database.totals();
    assert_eq!((totals.hits, totals.misses, totals.fills), (0, 1, 1));
    assert_eq!(totals.bypass, [(NoCache::Observe, 2)]);
}

#[test]
fn peeking_tells_and_changes_nothing() {
    let bench = Bench::new();
    let plan = bench.plan(&[A]);
    let mut builder = bench.database.key_builder();
    let key = builder.part(b"k").finish();
    let peek = |plan: &ReadPlan| bench.database.peek(&key, plan, Columns::NotNeeded, bench.now);
    assert_eq!(peek(&plan), Peek::Miss);
    let permit = bench.permit(&plan);
    assert_eq!(peek(&plan), Peek::Wait);
    permit.publish(&answer(b"row"), bench.now);
    assert_eq!(peek(&plan), Peek::Hit);
    let fence = bench.fence(&bench.footprint(&[A]));
    assert_eq!(peek(&plan), Peek::Bypass(NoCache::Fence));
    fence.lower();
    assert_eq!(peek(&plan), Peek::Miss);
    assert_eq!(bench.database.totals().misses, 1);
}

#[test]
fn databases_share_the_store_and_nothing_else() {
    let cache = Cache::new(Settings { memory: 1 << 20, max_result: 1 << 12, observe: false }, Counter::default());
    let bench = |name| Bench { database: cache.database(name), now: Instant::now() };
    let (one, other) = (bench("one"), bench("other"));
    let (plan, same_oid) = (one.plan(&[A]), other.plan(&[A]));
    one.fill(&plan);
    assert!(matches!(other.lookup(&same_oid), Lookup::Fill(_)));
    other.database.bump_everything();
    assert!(one.hits(&plan));
    assert_eq!((cache.entries(), one.database.name()), (1, "one"));
    cache.clear();
    assert!(!one.hits(&plan));
}
