//! Floor 1. Look-ups: the way of a read through suspension, store, versions and flights.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::database::Database;
use super::flight::{Boarding, FillPermit, Join, Start};
use super::key::{Key, OwnedKey};
use super::plan::ReadPlan;
use super::reason::NoCache;
use super::store::Entry;
use super::versions::Currency;
use crate::config::Ttl;

/// What a read found.
#[derive(Debug)]
pub enum Lookup {
    /// The answer, fresh now.
    Hit(Arc<Entry>),
    /// Somebody is fetching the same answer under the current versions.
    Wait(Join),
    /// Nobody is: fetch it and publish it.
    Fill(FillPermit),
    /// Go to Postgres.
    Bypass(NoCache),
}

/// What a read would find; nothing is counted, started or joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peek {
    /// An answer.
    Hit,
    /// A flight to join.
    Wait,
    /// Nothing.
    Miss,
    /// No cache.
    Bypass(NoCache),
}

/// Whether the reader needs a RowDescription from the entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Columns {
    /// It does: an entry without one is of no use.
    Needed,
    /// It does not.
    NotNeeded,
}

impl Database {
    /// Looks a read up. A `Fill` notes the versions now: nothing of the read may have been sent before.
    pub fn lookup(&self, key: &Key<'_>, plan: &ReadPlan, columns: Columns, now: Instant) -> Lookup {
        let found = self.find(key, plan, columns, now);
        let found = if self.observes() { observed(found) } else { found };
        self.counters().count(&found);
        found
    }

    /// What [`Database::lookup`] would say, without side effects: for look-ups whose turn has not come.
    pub fn peek(&self, key: &Key<'_>, plan: &ReadPlan, columns: Columns, now: Instant) -> Peek {
        if let Err(reason) = self.is_open(plan) {
            return Peek::Bypass(reason);
        }
        if let Some(entry) = self.store().get(key) {
            match entry.currency() {
                Currency::Fenced => return Peek::Bypass(NoCache::Fence),
                Currency::Current if plan.takes(&entry, columns, now) => return Peek::Hit,
                Currency::Current | Currency::Moved => {}
            }
        }
        match plan.stamp() {
            Err(reason) => Peek::Bypass(reason),
            Ok(_) if self.flights().is_joinable(key) => Peek::Wait,
            Ok(_) => Peek::Miss,
        }
    }

    fn find(&self, key: &Key<'_>, plan: &ReadPlan, columns: Columns, now: Instant) -> Lookup {
        if let Err(reason) = self.is_open(plan) {
            return Lookup::Bypass(reason);
        }
        match self.stored(key, plan, columns, now) {
            Ok(Some(entry)) => return Lookup::Hit(entry),
            Ok(None) => {}
            Err(reason) => return Lookup::Bypass(reason),
        }
        if self.is_large(key, now) {
            return Lookup::Bypass(NoCache::Large);
        }
        // From here on the versions are noted: before the table of flights is asked, before a byte is sent.
        let stamp = match plan.stamp() {
            Ok(stamp) => stamp,
            Err(reason) => return Lookup::Bypass(reason),
        };
        let start = Start { deps: plan.deps.clone(), stamp, read_at: now };
        let landed = || self.stored(key, plan, columns, now).ok().flatten();
        let flight = match self.flights().board(key, &start, columns == Columns::Needed, landed) {
            Err(entry) => return Lookup::Hit(entry),
            Ok(Boarding::Join(join)) => return Lookup::Wait(join),
            Ok(Boarding::Lead(flight)) => Some(flight),
            Ok(Boarding::Solo) => None,
        };
        let memory = match plan.ttl {
            Ttl::For(period) => period,
            Ttl::Forever => FOREVER_LARGE,
        };
        Lookup::Fill(FillPermit::new(self.clone(), key.to_owned_key(), flight, start, memory))
    }

    /// Whether anything of the plan may come from memory. The suspension is loaded first: what suspends sets its mark
    /// before it bumps, so a read that does not see the mark yet is before the bump as well.
    fn is_open(&self, plan: &ReadPlan) -> Result<(), NoCache> {
        if let Some(reason) = self.suspension() {
            return Err(reason);
        }
        // The plan's relations are those of the snapshot it was made from; under another catalog the same names may
        // mean others.
        match self.catalog_word().unfenced() {
            Some(version) if version == plan.catalog => Ok(()),
            Some(_) => Err(NoCache::CatalogUnknown),
            None => Err(NoCache::Fence),
        }
    }

    /// The entry of the key if it may be given out; a dead one is taken out of the store.
    fn stored(&self, key: &Key<'_>, plan: &ReadPlan, columns: Columns, now: Instant) -> Result<Option<Arc<Entry>>, NoCache> {
        let Some(entry) = self.store().get(key) else {
            return Ok(None);
        };
        match entry.currency() {
            Currency::Fenced => return Err(NoCache::Fence),
            Currency::Current if plan.takes(&entry, columns, now) => return Ok(Some(entry)),
            Currency::Current if plan.is_fresh(&entry, now) => return Ok(None),
            Currency::Current | Currency::Moved => self.store().remove(key, &entry),
        }
        Ok(None)
    }

    pub(super) fn remember_large(&self, key: &OwnedKey, now: Instant, memory: Duration) {
        if let Some(until) = now.checked_add(memory) {
            self.large().insert(key.as_key().hash_value(), until);
        }
    }

    fn is_large(&self, key: &Key<'_>, now: Instant) -> bool {
        let large = self.large();
        match large.get(&key.hash_value()) {
            Some(until) if now < until => true,
            Some(_) => large.remove(&key.hash_value()).is_none(),
            None => false,
        }
    }
}

/// In observe mode entries are filled as usual, and every answer that would have been given is counted instead.
fn observed(found: Lookup) -> Lookup {
    match found {
        Lookup::Hit(_) | Lookup::Wait(_) => Lookup::Bypass(NoCache::Observe),
        Lookup::Fill(_) | Lookup::Bypass(_) => found,
    }
}

/// How long a result under a rule without end is remembered as too large.
const FOREVER_LARGE: Duration = Duration::from_secs(60);
