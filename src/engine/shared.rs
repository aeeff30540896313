//! Floor 2. What all client connections of one database share, and what tells one reader from another.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use parking_lot::Mutex;

use crate::cache::{Database, NoCache, PlanMemo, ReadPlan, Rules, read_plan};
use crate::invalidation::{Footprint, Names, Scope, footprint};
use crate::listen::Hub;
use crate::plan::Plans;
use crate::query::{Classifier, Effects, FunctionClass, Snapshot, Statement};

/// The fields of an ErrorResponse.
pub(super) type Refusal = Vec<(u8, Vec<u8>)>;

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
    /// Listens for all clients; None = each listens for itself, on a server of its own.
    pub hub: Option<Arc<Hub>>,
    opaque: Arc<Statement>,
    function_call: Arc<Statement>,
    generation: AtomicU64,
    /// The last 0A000 for changed columns that Postgres gave.
    refusal: Mutex<Option<Refusal>>,
    epochs: AtomicU64,
}

impl Shared {
    /// `prefix` names statements on servers, see [`Plans::new`].
    pub fn new(classifier: Arc<Classifier>, prefix: &str, cache: Option<CacheShared>) -> Self {
        let opaque = Statement::opaque();
        let function_call = Statement { effects: Effects::NONE, sets_local: false, ..Statement::opaque() };
        Self {
            classifier,
            plans: Plans::new(prefix),
            session_mode: false,
            statement_mode: false,
            cache,
            hub: None,
            opaque: Arc::new(opaque),
            function_call: Arc::new(function_call),
            generation: AtomicU64::new(0),
            refusal: Mutex::new(None),
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

    /// Postgres has refused a statement for its changed columns: its words are kept for the next time that pgdial must.
    pub(super) fn learn_refusal(&self, fields: Refusal) {
        *self.refusal.lock() = Some(fields);
    }

    pub(super) fn refusal(&self) -> Option<Refusal> {
        self.refusal.lock().clone()
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
    /// `[[cache.rule]]`, and how often they were changed.
    rules: Mutex<Arc<Rules>>,
    rules_version: AtomicU64,
    /// The catalog as read last, None while it is unknown.
    pub snapshot: Box<dyn Fn() -> Option<Arc<Snapshot>> + Send + Sync>,
    plans: PlanMemo<Asked>,
    footprints: Mutex<lru::LruCache<Asked, Footprint, foldhash::fast::RandomState>>,
}

/// Whose eyes a statement is read with. All clients with the same user and startup parameters share one.
#[derive(Debug)]
pub struct Reader {
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

/// A statement and a reader (by identity: they are kept alive here), what names mean to it, and a catalog.
#[derive(Clone)]
struct Asked {
    statement: Arc<Statement>,
    reader: Arc<Reader>,
    names: Names,
    /// Of the catalog, and of the rules.
    versions: (u64, u64),
}

impl PartialEq for Asked {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.statement, &other.statement)
            && Arc::ptr_eq(&self.reader, &other.reader)
            && (self.names, self.versions) == (other.names, other.versions)
    }
}

impl Eq for Asked {}

impl std::hash::Hash for Asked {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.statement).hash(state);
        Arc::as_ptr(&self.reader).hash(state);
        self.names.hash(state);
        self.versions.hash(state);
    }
}

impl CacheShared {
    /// The cache of one database.
    pub fn new(database: Database, rules: Rules, snapshot: Box<dyn Fn() -> Option<Arc<Snapshot>> + Send + Sync>) -> Self {
        let footprints = lru::LruCache::with_hasher(MEMO, foldhash::fast::RandomState::default());
        let rules = Mutex::new(Arc::new(rules));
        Self {
            database,
            rules,
            rules_version: AtomicU64::new(0),
            snapshot,
            plans: PlanMemo::new(MEMO),
            footprints: Mutex::new(footprints),
        }
    }

    /// Other rules, from now on. Their periods count for answers already kept.
    pub fn set_rules(&self, rules: Rules) {
        *self.rules.lock() = Arc::new(rules);
        self.rules_version.fetch_add(1, Release);
    }

    /// How the statement may be answered from memory.
    pub(super) fn read_plan(&self, statement: &Arc<Statement>, reader: &Arc<Reader>) -> Result<Arc<ReadPlan>, NoCache> {
        if !statement.single_read {
            return Err(NoCache::NotARead);
        }
        let snapshot = (self.snapshot)().ok_or(NoCache::CatalogUnknown)?;
        // The version before the rules: what is made of newer rules under an older version is not asked for again.
        let version = self.rules_version.load(Acquire);
        self.plans.get_or_make(asked(statement, reader, Names::AtLogin, (snapshot.version, version)), || {
            let rules = Arc::clone(&self.rules.lock());
            let reading = read_plan(statement, &scope(Some(&snapshot), reader, Names::AtLogin), &rules)?;
            Ok(ReadPlan::new(&self.database, reading))
        })
    }

    /// Whether a function that it names is not Postgres's own.
    pub(super) fn calls_user_code(&self, statement: &Statement) -> bool {
        let is_user =
            |snapshot: Arc<Snapshot>| statement.functions.iter().any(|name| snapshot.function_class(name) >= FunctionClass::User);
        !statement.functions.is_empty() && (self.snapshot)().is_none_or(is_user)
    }

    /// What the statement may write.
    pub(super) fn footprint(&self, statement: &Arc<Statement>, reader: &Arc<Reader>, names: Names) -> Footprint {
        let Some(snapshot) = (self.snapshot)() else {
            return footprint(statement, &scope(None, reader, names));
        };
        let asked = asked(statement, reader, names, (snapshot.version, 0));
        if let Some(known) = self.footprints.lock().get(&asked) {
            return known.clone();
        }
        let made = footprint(statement, &scope(Some(&snapshot), reader, names));
        self.footprints.lock().put(asked, made.clone());
        made
    }
}

fn asked(statement: &Arc<Statement>, reader: &Arc<Reader>, names: Names, versions: (u64, u64)) -> Asked {
    Asked { statement: Arc::clone(statement), reader: Arc::clone(reader), names, versions }
}

fn scope<'a>(snapshot: Option<&'a Snapshot>, reader: &'a Reader, names: Names) -> Scope<'a> {
    Scope { snapshot, search_path: &reader.search_path, role: &reader.role, names }
}

/// Statements remembered per database. A shape is a few hundred bytes.
const MEMO: NonZeroUsize = match NonZeroUsize::new(4096) {
    Some(n) => n,
    None => NonZeroUsize::MIN,
};
