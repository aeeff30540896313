//! Floor 1. Which plans one server connection has, least recently used last.

use lru::LruCache;

use super::{Plan, PlanId};

/// The statements that pgdial has prepared on one server connection.
///
/// It runs ahead of the server: a plan is in here from the moment its Parse is written, because later messages of the
/// same batch rely on it. A Parse that fails or is skipped is taken out again with [`ServerPlans::remove`].
pub struct ServerPlans {
    limit: usize,
    present: LruCache<PlanId, Present, foldhash::fast::RandomState>,
}

struct Present {
    name: Box<[u8]>,
    generation: u64,
}

/// What [`ServerPlans::insert`] asks for.
#[derive(Debug, PartialEq, Eq)]
pub struct Insert {
    /// Send Close for this statement, in stream order, before the Parse.
    pub evict: Option<(PlanId, Box<[u8]>)>,
}

impl ServerPlans {
    /// Room for `limit` statements; zero means one, since a Bind needs its statement.
    pub fn new(limit: usize) -> Self {
        Self { limit: limit.max(1), present: LruCache::unbounded_with_hasher(foldhash::fast::RandomState::default()) }
    }

    /// How many statements there is room for.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Whether the server has the plan; marks it as used.
    pub fn touch(&mut self, id: PlanId) -> bool {
        self.present.get(&id).is_some()
    }

    /// The schema generation under which the server parsed the plan.
    pub fn generation(&self, id: PlanId) -> Option<u64> {
        self.present.peek(&id).map(|present| present.generation)
    }

    /// Notes that a Parse for the plan is on its way.
    pub fn insert(&mut self, plan: &Plan, generation: u64) -> Insert {
        self.present.put(plan.id(), Present { name: plan.name().into(), generation });
        if self.present.len() <= self.limit {
            return Insert { evict: None };
        }
        Insert { evict: self.present.pop_lru().map(|(id, present)| (id, present.name)) }
    }

    /// Puts back a statement whose Close was skipped by the server.
    pub fn restore(&mut self, id: PlanId, name: Box<[u8]>, generation: u64) {
        self.present.put(id, Present { name, generation });
        self.present.demote(&id);
    }

    /// The server does not have the plan (any more).
    pub fn remove(&mut self, id: PlanId) {
        self.present.pop(&id);
    }

    /// The server has dropped everything (DISCARD ALL, DEALLOCATE ALL).
    pub fn clear(&mut self) {
        self.present.clear();
    }

    /// All of them, with their names.
    pub fn iter(&self) -> impl Iterator<Item = (PlanId, &[u8])> {
        self.present.iter().map(|(id, present)| (*id, &*present.name))
    }

    /// How many statements pgdial has on the server.
    pub fn len(&self) -> usize {
        self.present.len()
    }

    /// Whether the server has none.
    pub fn is_empty(&self) -> bool {
        self.present.len() == 0
    }
}
