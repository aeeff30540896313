//! Floor 1. Versions and fences: one atomic word per relation, read with one load.
//!
//! A word is `version (48 bits) | in_flight (16 bits)`. A write raises the words of its footprint before the first byte
//! that can make the server commit, and lowers them at the ReadyForQuery that ends its group: a new version and one
//! flight less in a single step, so nobody can see "fence down" with the old version.
//!
//! Memory ordering. All operations are SeqCst, so that the loads of a whole dependency vector and the raises and lowers
//! of several writers have one order that all threads agree on; on x86-64 it costs nothing over Acquire/AcqRel. The order
//! between a word and the database is carried by the sockets: a raise comes before the write of the statement in program
//! order, a stamp before the write of the read, a lower before the reply is handed to the client. Whoever learnt of a
//! commit learnt it through such a chain, and a chain through the kernel orders memory as a lock does.
//!
//! Reading several words is not one atomic step and need not be. A hit loads the words one after another and finds each
//! at the version of the entry. Versions are never reused, so each stayed unmoved from the fill to its own load, which
//! is after the first load: at the first load all of them were unmoved together, and that moment lies inside the read.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

/// Gives out versions. One per process, shared by all databases; a version is never given out twice.
#[derive(Clone, Debug, Default)]
pub struct Counter(Arc<AtomicU64>);

/// `version | in_flight` of one relation, of everything in a database, or of its catalog.
#[derive(Debug)]
pub(super) struct Word(AtomicU64);

/// A word, shared by the entries, plans and fences that name it.
pub(super) type Slot = Arc<Word>;

/// The words an answer depends on: everything, catalog, then its relations.
#[derive(Clone, Debug)]
pub struct Dependencies(Arc<[Slot]>);

/// The versions of a dependency vector at a moment when no fence was up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp(Arc<[u64]>);

/// What became of the versions since a stamp was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Currency {
    /// No version moved and no fence is up.
    Current,
    /// A fence is up: a write is on its way, its outcome is not known yet.
    Fenced,
    /// A version moved: a write was committed, or may have been.
    Moved,
}

impl Counter {
    /// The next version, or `None` when 48 bits are used up (a million a second for nine years).
    pub(super) fn fresh(&self) -> Option<u64> {
        let version = self.0.fetch_add(1, SeqCst).saturating_add(1);
        (version <= MAX_VERSION).then_some(version)
    }
}

impl Word {
    /// A word with a version of its own, so that a word made anew never looks like an older one.
    pub(super) fn new(counter: &Counter) -> Self {
        Self(AtomicU64::new(raw(counter.fresh(), 0)))
    }

    /// The whole word.
    pub(super) fn load(&self) -> u64 {
        self.0.load(SeqCst)
    }

    /// One more write in flight. At the cap the word stays fenced for good: it is never wrong, only never cached again.
    pub(super) fn raise(&self) {
        self.update(|version, in_flight| raw(Some(version), in_flight.saturating_add(1).min(STUCK)));
    }

    /// A new version and one write in flight less, in one step.
    pub(super) fn lower(&self, fresh: Option<u64>) {
        self.update(|_, in_flight| match in_flight {
            STUCK => raw(fresh, STUCK),
            n => raw(fresh, n.saturating_sub(1)),
        });
    }

    /// A new version; the fences stay as they are.
    pub(super) fn bump(&self, fresh: Option<u64>) {
        self.update(|_, in_flight| raw(fresh, in_flight));
    }

    /// The version, if no fence is up.
    pub(super) fn unfenced(&self) -> Option<u64> {
        let word = self.load();
        (word & IN_FLIGHT == 0).then_some(word >> IN_FLIGHT_BITS)
    }

    fn update(&self, next: impl Fn(u64, u64) -> u64) {
        // Two lowers may land in the other order than their versions were drawn. Versions are only compared for
        // equality and each is drawn once, so that is no reuse.
        let step = |word: u64| Some(next(word >> IN_FLIGHT_BITS, word & IN_FLIGHT));
        let _always_some = self.0.fetch_update(SeqCst, SeqCst, step);
    }
}

impl Dependencies {
    /// The vector of an answer. `everything` and `catalog` are always in it.
    pub(super) fn new(everything: Slot, catalog: Slot, relations: impl IntoIterator<Item = Slot>) -> Self {
        Self([everything, catalog].into_iter().chain(relations).collect())
    }

    /// The versions now, or `None` while a fence is up.
    pub fn stamp(&self) -> Option<Stamp> {
        let words: Arc<[u64]> = self.0.iter().map(|slot| slot.load()).collect();
        words.iter().all(|word| word & IN_FLIGHT == 0).then_some(Stamp(words))
    }

    /// Compares the versions now with those of a stamp of this same vector. Allocates nothing.
    pub fn compare(&self, stamp: &Stamp) -> Currency {
        let mut currency = if self.0.len() == stamp.0.len() { Currency::Current } else { Currency::Moved };
        for (slot, noted) in self.0.iter().zip(stamp.0.iter()) {
            let now = slot.load();
            if now & IN_FLIGHT != 0 {
                return Currency::Fenced;
            }
            if now != *noted {
                currency = Currency::Moved;
            }
        }
        currency
    }

    /// How many words.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

impl Stamp {
    /// The version of the catalog.
    pub(super) fn catalog(&self) -> Option<u64> {
        self.0.get(CATALOG).map(|word| word >> IN_FLIGHT_BITS)
    }
}

/// Without a version left the word is fenced for good.
fn raw(version: Option<u64>, in_flight: u64) -> u64 {
    match version {
        Some(version) => (version << IN_FLIGHT_BITS) | in_flight,
        None => STUCK,
    }
}

/// Its place in every dependency vector.
const CATALOG: usize = 1;
const IN_FLIGHT_BITS: u32 = 16;
const IN_FLIGHT: u64 = (1 << IN_FLIGHT_BITS) - 1;
const MAX_VERSION: u64 = (1 << 48) - 1;
/// The in-flight count that never comes down again.
const STUCK: u64 = IN_FLIGHT;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn word() -> (Counter, Slot) {
        let counter = Counter::default();
        let slot = Arc::new(Word::new(&counter));
        (counter, slot)
    }

    fn deps(counter: &Counter, slots: &[Slot]) -> Dependencies {
        let own = || Arc::new(Word::new(counter));
        Dependencies::new(own(), own(), slots.iter().cloned())
    }

    #[test]
    fn a_fence_hides_the_stamp_and_its_lowering_moves_the_version() {
        let (counter, slot) = word();
        let deps = deps(&counter, std::slice::from_ref(&slot));
        let before = deps.stamp().unwrap();
        assert_eq!(deps.compare(&before), Currency::Current);
        slot.raise();
        assert_eq!(deps.stamp(), None);
        assert_eq!(deps.compare(&before), Currency::Fenced);
        slot.lower(counter.fresh());
        assert_eq!(deps.compare(&before), Currency::Moved);
        assert_ne!(deps.stamp().unwrap(), before);
    }

    #[test]
    fn the_cap_is_permanent() {
        let (counter, slot) = word();
        for _ in 0..70_000 {
            slot.raise();
        }
        for _ in 0..70_000 {
            slot.lower(counter.fresh());
        }
        assert_eq!(slot.unfenced(), None);
        assert_eq!(slot.load() & IN_FLIGHT, STUCK);
    }

    #[test]
    fn versions_that_run_out_fence_for_good() {
        let counter = Counter(Arc::new(AtomicU64::new(MAX_VERSION - 1)));
        let slot = Word::new(&counter);
        assert_eq!(slot.unfenced(), Some(MAX_VERSION));
        slot.raise();
        slot.lower(counter.fresh());
        assert_eq!(slot.unfenced(), None);
        slot.bump(counter.fresh());
        assert_eq!(slot.unfenced(), None);
        assert_eq!(Word::new(&counter).unfenced(), None);
    }

    #[test]
    fn a_stamp_of_another_vector_is_never_current() {
        let (counter, slot) = word();
        let stamp = deps(&counter, &[]).stamp().unwrap();
        assert_eq!(deps(&counter, &[slot]).compare(&stamp), Currency::Moved);
    }

    proptest! {
        #[test]
        fn in_flight_counts_and_versions_never_repeat(steps in proptest::collection::vec(0u8..3, 0..200)) {
            let (counter, slot) = word();
            let mut seen = vec![slot.load() >> IN_FLIGHT_BITS];
            let mut flights = 0u64;
            for step in steps {
                match step {
                    0 => { slot.raise(); flights += 1; }
                    1 if flights > 0 => { slot.lower(counter.fresh()); flights -= 1; }
                    _ => slot.bump(counter.fresh()),
                }
                prop_assert_eq!(slot.load() & IN_FLIGHT, flights);
                let version = slot.load() >> IN_FLIGHT_BITS;
                if step == 0 {
                    prop_assert_eq!(Some(&version), seen.last());
                } else {
                    prop_assert!(!seen.contains(&version));
                    seen.push(version);
                }
            }
        }
    }
}
