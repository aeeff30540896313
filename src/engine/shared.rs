//! Floor 2. What all client connections of one database share, and what tells one reader from another.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;

use crate::cache::{Database, NoCache, PlanMemo, ReadPlan, Rules, read_plan};
use crate::invalidation::{Footprint, Scope, footprint};
use crate::plan::Plans;
use crate::query::{Classifier, Effects, Snapshot, Statement};

/// One database, as seen by the engines of its clients.
pub struct Shared {
    /// Reads statements.
    pub classifier: Arc<Classifier>,
    /// Texts that clients have prepared by name.
    pub plans: Plans,
    /// `[pool] mode = "session"`: a client has one server, and its statements their own names there.
    pub session_mode: bool,
    /// `[pool] mode = "statement"`: no transaction blocks.
    pub statement_mode: bool,
    /// The result cache, unless it is off.
    pub cache: Option<CacheShared>,
    opaque: Arc<Statement>,
    function_call: Arc<Statement>,
    generation: AtomicU64,
    epochs: AtomicU64,
}

impl Shared {
    /// `prefix` names statements on servers, see [`Plans::new`].
    pub fn new(classifier: Arc<Classifier>, prefix: &str, cache: Option<CacheShared>) -> Self {
        let opaque = Statement::opaque();
        let function_call = Statement { effects: Effects::NONE, ..Statement::opaque() };
        Self {
            classifier,
            plans: Plans::new(prefix),
            session_mode: false,
            statement_mode: false,
            cache,
            opaque: Arc::new(opaque),
            function_call: Arc::new(function_call),
            generation: AtomicU64::new(0),
            epochs: AtomicU64::new(1),
        }
    }

    /// A text that was not looked at.
    pub(super) fn opaque(&self) -> Arc<Statement> {
        Arc::clone(&self.opaque)
    }

    /// The function-call message: large objects, in practice. It may write, and leaves nothing behind in the session.
    pub(super) fn function_call(&self) -> Arc<Statement> {
        Arc::clone(&self.function_call)
    }

    /// A number that no other session state or unnamed statement has.
    pub(super) fn next_epoch(&self) -> u64 {
        self.epochs.fetch_add(1, Relaxed)
    }

    /// A statement that may change the schema is on its way: plans parsed before it are not taken on trust any more.
    pub(super) fn schema_changed(&self) {
        self.generation.fetch_add(1, Relaxed);
    }

    /// Counts changes of the schema that were seen.
    pub fn schema_generation(&self) -> u64 {
        self.generation.load(Relaxed)
    }
}

/// The result cache of one database, and what is needed to use it.
pub struct CacheShared {
    /// Entries, versions, flights.
    pub database: Database,
    /// `[[cache.rule]]`.
    pub rules: Rules,
    /// The catalog as read last, None while it is unknown.
    pub snapshot: Box<dyn Fn() -> Option<Arc<Snapshot>> + Send + Sync>,
    plans: PlanMemo<Asked>,
    footprints: Mutex<lru::LruCache<Asked, Footprint, foldhash::fast::RandomState>>,
}

/// Whose eyes a statement is read with. All clients with the same user and startup parameters share one.
#[derive(Debug)]
pub struct Reader {
    /// Unique in the process.
    pub id: u64,
    /// The set of startup parameters.
    pub set: u32,
    /// The effective role.
    pub role: Box<str>,
    /// The effective search_path.
    pub search_path: Vec<Box<str>>,
    /// Everything of the session that can change what a read returns, for the key.
    pub settings: Box<[u8]>,
    /// Transactions are READ COMMITTED unless they say otherwise.
    pub read_committed: bool,
}

/// A statement (by identity: it is kept alive here), a reader and a catalog.
#[derive(Clone)]
struct Asked {
    statement: Arc<Statement>,
    reader: u64,
    catalog: u64,
}

impl PartialEq for Asked {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.statement, &other.statement) && self.reader == other.reader && self.catalog == other.catalog
    }
}

impl Eq for Asked {}

impl std::hash::Hash for Asked {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.statement).hash(state);
        self.reader.hash(state);
        self.catalog.hash(state);
    }
}

impl CacheShared {
    /// The cache of one database.
    pub fn new(database: Database, rules: Rules, snapshot: Box<dyn Fn() -> Option<Arc<Snapshot>> + Send + Sync>) -> Self {
        let footprints = lru::LruCache::with_hasher(MEMO, foldhash::fast::RandomState::default());
        Self { database, rules, snapshot, plans: PlanMemo::new(MEMO), footprints: Mutex::new(footprints) }
    }

    /// How the statement may be answered from memory.
    pub(super) fn read_plan(&self, statement: &Arc<Statement>, reader: &Reader) -> Result<Arc<ReadPlan>, NoCache> {
        if !statement.single_read {
            return Err(NoCache::NotARead);
        }
        let snapshot = (self.snapshot)().ok_or(NoCache::CatalogUnknown)?;
        let asked = Asked { statement: Arc::clone(statement), reader: reader.id, catalog: snapshot.version };
        self.plans.get_or_make(asked, || {
            let reading = read_plan(statement, &scope(&snapshot, reader), &self.rules)?;
            Ok(ReadPlan::new(&self.database, reading))
        })
    }

    /// What the statement may write.
    pub(super) fn footprint(&self, statement: &Arc<Statement>, reader: &Reader) -> Footprint {
        let Some(snapshot) = (self.snapshot)() else {
            return footprint(statement, &Scope { snapshot: None, search_path: &reader.search_path, role: &reader.role, temp: false });
        };
        let asked = Asked { statement: Arc::clone(statement), reader: reader.id, catalog: snapshot.version };
        if let Some(known) = self.footprints.lock().get(&asked) {
            return known.clone();
        }
        let made = footprint(statement, &scope(&snapshot, reader));
        self.footprints.lock().put(asked, made.clone());
        made
    }
}

fn scope<'a>(snapshot: &'a Snapshot, reader: &'a Reader) -> Scope<'a> {
    Scope { snapshot: Some(snapshot), search_path: &reader.search_path, role: &reader.role, temp: false }
}

/// Statements remembered per database. A shape is a few hundred bytes.
const MEMO: NonZeroUsize = match NonZeroUsize::new(4096) {
    Some(n) => n,
    None => NonZeroUsize::MIN,
};
