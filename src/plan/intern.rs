//! Floor 1. One [`Plan`] per distinct (text, parameter types), shared by all clients of a database.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use crate::query::Statement;

/// Names a plan for the life of the process. Never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PlanId(u64);

/// A statement as a server would be asked to prepare it.
#[derive(Debug)]
pub struct Plan {
    id: PlanId,
    name: Box<[u8]>,
    key: Key,
    /// Under which startup parameters Postgres has accepted the text, and as of which schema.
    accepted: Mutex<Vec<(u32, u64)>>,
    described: Mutex<Described>,
    /// Its columns as a number, by schema: the last few.
    columns: Mutex<Vec<(u64, u64)>>,
    /// What the text does.
    pub class: Arc<Statement>,
}

/// What Postgres says of a statement when it is asked to describe it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Described {
    /// The whole ParameterDescription message, once it is known.
    pub parameters: Option<Arc<[u8]>>,
    /// Whether it returns rows.
    pub rows: Option<bool>,
}

impl Described {
    /// How many parameters it takes, once that is known.
    pub fn parameter_count(&self) -> Option<u16> {
        // Behind the tag and the length.
        self.parameters.as_ref()?.get(5..)?.first_chunk().map(|count| u16::from_be_bytes(*count))
    }
}

/// Compared whole: two texts with equal hashes are two plans.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    text: Arc<[u8]>,
    /// Big-endian type OIDs as the client declared them.
    types: Arc<[u8]>,
    /// Zero, or the one session whose changed settings were in force when it was parsed: literals fold under those.
    epoch: u64,
}

impl Plan {
    /// The plan's identity.
    pub fn id(&self) -> PlanId {
        self.id
    }

    /// The statement's name on every server that has it.
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// The statement's text.
    pub fn text(&self) -> &[u8] {
        &self.key.text
    }

    /// Postgres has accepted the text on a server of this set, under this schema.
    pub fn accept(&self, set: u32, generation: u64) {
        let mut accepted = self.accepted.lock();
        accepted.retain(|(known, _)| *known != set);
        if accepted.len() >= MAX_SETS {
            accepted.remove(0);
        }
        accepted.push((set, generation));
    }

    /// Whether it would be accepted again, as far as can be known without asking.
    pub fn is_accepted(&self, set: u32, generation: u64) -> bool {
        self.accepted.lock().contains(&(set, generation))
    }

    /// Remembers its columns, as a number, under a schema.
    pub fn note_columns(&self, generation: u64, columns: u64) {
        let mut known = self.columns.lock();
        known.retain(|(at, _)| *at != generation);
        if known.len() >= MAX_SETS {
            known.remove(0);
        }
        known.push((generation, columns));
    }

    /// Its columns under that schema, if they are known.
    pub fn columns(&self, generation: u64) -> Option<u64> {
        self.columns.lock().iter().find(|(at, _)| *at == generation).map(|(_, columns)| *columns)
    }

    /// What is known of its description.
    pub fn described(&self) -> Described {
        self.described.lock().clone()
    }

    /// Remembers a part of its description.
    pub fn describe(&self, part: impl FnOnce(&mut Described)) {
        part(&mut self.described.lock());
    }

    /// What is known of the same text under the same settings, before it was known which those are.
    pub fn inherit(&self, other: &Self) {
        if self.described().rows.is_none() {
            let known = other.described();
            self.describe(|described| *described = known);
        }
        let columns: Vec<(u64, u64)> = other.columns.lock().clone();
        for (generation, columns) in columns {
            if self.columns(generation).is_none() {
                self.note_columns(generation, columns);
            }
        }
    }

    /// Under which settings it was parsed, see [`crate::session::Settings::epoch`].
    pub fn epoch(&self) -> u64 {
        self.key.epoch
    }

    /// Declared parameter types, raw as in Parse.
    pub fn types(&self) -> &[u8] {
        &self.key.types
    }
}

/// All plans of one database. A plan lives as long as a client statement refers to it.
pub struct Plans {
    prefix: Box<str>,
    next: AtomicU64,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    by_key: HashMap<Key, Weak<Plan>, foldhash::fast::RandomState>,
    sweep_at: usize,
}

impl Plans {
    /// `prefix` begins every statement name; it is random per process so that no client's own name collides.
    pub fn new(prefix: &str) -> Self {
        Self { prefix: prefix.into(), next: AtomicU64::new(1), known: Mutex::new(Known::default()) }
    }

    /// What begins every server-side name.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The name of a statement that every server has, see [`crate::engine`]; plans are numbered from 1.
    pub fn stand_in(&self) -> String {
        format!("{}0", self.prefix)
    }

    /// The name of a statement that lives only to be described.
    pub fn probe(&self) -> String {
        format!("{}0p", self.prefix)
    }

    /// The name of a statement, and of its portal, that live only for DISCARD SEQUENCES.
    pub fn discarder(&self) -> String {
        format!("{}0d", self.prefix)
    }

    /// What makes that statement. It takes more parameters than a client's ever would by mistake, so that a Bind with any
    /// other number of them is refused for that number.
    pub fn stand_in_text(&self) -> String {
        let types = ["int"; STAND_IN_PARAMETERS].join(", ");
        format!("prepare {} ({types}) as select $1", self.stand_in())
    }

    /// The plan for this text, made now when nobody has it.
    pub fn intern(&self, text: &[u8], types: &[u8], epoch: u64, class: &Arc<Statement>) -> Arc<Plan> {
        let key = Key { text: text.into(), types: types.into(), epoch };
        let mut known = self.known.lock();
        if let Some(plan) = known.by_key.get(&key).and_then(Weak::upgrade) {
            return plan;
        }
        known.sweep();
        let id = PlanId(self.next.fetch_add(1, Ordering::Relaxed));
        let name = format!("{}{:x}", self.prefix, id.0).into_bytes().into_boxed_slice();
        let plan = Arc::new(Plan {
            id,
            name,
            key: key.clone(),
            class: Arc::clone(class),
            accepted: Mutex::default(),
            described: Mutex::default(),
            columns: Mutex::default(),
        });
        known.by_key.insert(key, Arc::downgrade(&plan));
        plan
    }

    /// How many plans are alive.
    pub fn len(&self) -> usize {
        self.known.lock().by_key.values().filter(|plan| plan.strong_count() > 0).count()
    }

    #[cfg(test)]
    pub(super) fn table_len(&self) -> usize {
        self.known.lock().by_key.len()
    }

    /// Whether no plan is alive.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Known {
    /// Drops dead entries each time the table has doubled: amortised constant work per intern.
    fn sweep(&mut self) {
        if self.by_key.len() < self.sweep_at.max(1024) {
            return;
        }
        self.by_key.retain(|_, plan| plan.strong_count() > 0);
        self.sweep_at = self.by_key.len() * 2;
    }
}

/// How many parameters the stand-in takes.
pub const STAND_IN_PARAMETERS: usize = 13;

/// Sets remembered per plan; a few are in use at a time.
const MAX_SETS: usize = 16;
