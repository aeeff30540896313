//! Floor 2. What all client connections of one database share, and what tells one reader from another.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::cache::{Database, NoCache, PlanMemo, ReadPlan, Rules, read_plan};
use crate::config::Currval;
use crate::invalidation::{Footprint, Names, Scope, footprint};
use crate::listen::Hub;
use crate::plan::Plans;
use crate::query::{
    Classifier, Effects, FunctionClass, Kind, Routines, Snapshot, Statement, Traces, is_builtin_function, parse_search_path,
};
use crate::session::{Settings, SettingsTable};

use super::sequences::Lookers;

/// The fields of an ErrorResponse.
pub(super) type Refusal = Vec<(u8, Vec<u8>)>;

/// One database, as seen by the engines of its clients.
pub struct Shared {
    /// Reads statements.
    pub classifier: Arc<Classifier>,
    /// Texts that clients have prepared by name.
    pub plans: Plans,
    /// Settings of sessions.
    pub settings: SettingsTable,
    /// `[pool] mode = "session"`: a client has one server, and its statements their own names there.
    pub session_mode: bool,
    /// `[pool] mode = "statement"`: no transaction blocks.
    pub statement_mode: bool,
    /// The result cache, unless it is off.
    pub cache: Option<CacheShared>,
    /// Listens for all clients; None = each listens for itself, on a server of its own.
    pub hub: Option<Arc<Hub>>,
    /// What functions of users leave behind, as read last; None while it is not known.
    pub routines: Box<dyn Fn() -> Option<Arc<Routines>> + Send + Sync>,
    /// Told that the schema may have changed: the routines are to be read again.
    pub routines_wanted: Arc<Notify>,
    /// `[pool] currval`.
    pub currval: Currval,
    pub(super) lookers: Lookers,
    /// Counts changes of what sessions begin with: one for the whole process, since a role has its defaults everywhere.
    pub defaults: Arc<AtomicU64>,
    opaque: Arc<Statement>,
    function_call: Arc<Statement>,
    generation: AtomicU64,
    /// The generation with which code may last have come that runs unnamed.
    hidden: AtomicU64,
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
            settings: SettingsTable::default(),
            session_mode: false,
            statement_mode: false,
            cache,
            hub: None,
            routines: Box::new(|| None),
            routines_wanted: Arc::new(Notify::new()),
            currval: Currval::Auto,
            lookers: Lookers::default(),
            defaults: Arc::default(),
            opaque: Arc::new(opaque),
            function_call: Arc::new(function_call),
            generation: AtomicU64::new(0),
            hidden: AtomicU64::new(0),
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
    /// `hides_code`: triggers and the like may be others.
    pub(super) fn schema_changed(&self, hides_code: bool) {
        let generation = self.generation.fetch_add(1, AcqRel) + 1;
        if hides_code {
            self.hidden.fetch_max(generation, AcqRel);
        }
        self.routines_wanted.notify_one();
    }

    /// Sessions begin otherwise from here on: servers opened before are not for clients that come later.
    pub fn defaults_changed(&self) {
        self.defaults.fetch_add(1, AcqRel);
        self.routines_wanted.notify_one();
    }

    /// What the statement may leave behind in its session through functions of users, and through the code that stands in it.
    pub(super) fn traces(&self, statement: &Statement) -> Judged {
        let body = statement.body.as_deref();
        let own = || body.map(|body| body.traces.clone()).unwrap_or_default();
        let Some(routines) = (self.routines)() else {
            let known = statement.functions.iter().all(is_builtin_function) && body.is_none_or(|body| body.calls.is_empty());
            return match known {
                true if self.hidden.load(Acquire) > 0 && may_run_hidden(statement) => Judged::Unseen,
                true => Judged::Known(own()),
                false => Judged::Unknown,
            };
        };
        let current = routines.generation == self.schema_generation();
        let unread = body.is_some() && !current;
        if unread || !statement.functions.iter().all(|name| routines.knows(name, current)) {
            return if current { Judged::NoSuchFunction } else { Judged::Unknown };
        }
        if routines.generation < self.hidden.load(Acquire) && may_run_hidden(statement) {
            return Judged::Unseen;
        }
        let mut traces = routines.traces(statement);
        if let Some(body) = body {
            traces.add(&body.traces);
            traces.add(&routines.traces_of_calls(&body.calls));
        }
        Judged::Known(traces)
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
        self.generation.load(Acquire)
    }
}

/// Whether code may run in it that it does not name. Other DDL does not: dumps hold thousands of those in a row.
pub(super) fn may_run_hidden(statement: &Statement) -> bool {
    let is_data = matches!(
        statement.kind,
        Kind::Select
            | Kind::Insert
            | Kind::Update
            | Kind::Delete
            | Kind::Merge
            | Kind::Copy
            | Kind::Truncate
            | Kind::Declare
            | Kind::Opaque
    );
    is_data && (statement.may_write || !statement.reads.is_empty() || !statement.operators.is_empty())
}

/// What is known of a statement's traces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Judged {
    /// These and no others.
    Known(Traces),
    /// It names functions that are not Postgres's own, and what those do is not known at the moment.
    Unknown,
    /// It names none, but triggers, views and the like are not known at the moment.
    Unseen,
    /// It names a function that was not there when all of them were read, and nobody has changed the schema since.
    NoSuchFunction,
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
    readers: Mutex<lru::LruCache<(usize, usize), Under, foldhash::fast::RandomState>>,
    footprints: Mutex<lru::LruCache<Asked, Footprint, foldhash::fast::RandomState>>,
}

/// Whose eyes a statement is read with. All clients with the same user and startup parameters share one.
#[derive(Debug, PartialEq, Eq)]
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

/// A reader with settings of its own on top.
struct Under {
    reader: Arc<Reader>,
    /// Alive, so that their addresses stay theirs.
    _kept: (Arc<Reader>, Arc<Settings>),
}

impl Reader {
    /// The same with a session's own settings on top.
    fn under(&self, settings: &Settings) -> Self {
        let role = match (settings.get("role"), settings.get("session_authorization")) {
            (Some("none") | None, Some(user)) => Some(user.into()),
            (Some("none"), None) => None,
            (Some(role), _) => Some(role.into()),
            (None, None) => Some(self.role.clone()),
        };
        let search_path = match settings.get("search_path") {
            Some(path) => parse_search_path(path),
            None => Some(self.search_path.clone()),
        };
        let read_committed =
            settings.get("default_transaction_isolation").map_or(self.read_committed, |level| level == "read committed");
        let mut all = self.settings.to_vec();
        for (name, value) in settings.iter().filter(|(name, _)| *name != "application_name") {
            // Lengths, so that no value can be taken for two.
            all.extend_from_slice(format!("\0{}:{name}={}:", name.len(), value.len()).as_bytes());
            all.extend_from_slice(value.as_bytes());
        }
        let known = role.is_some() && search_path.is_some();
        Self {
            set: self.set,
            role: role.unwrap_or_default(),
            search_path: search_path.unwrap_or_default(),
            settings: all.into(),
            read_committed: known && read_committed,
        }
    }
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
            readers: Mutex::new(lru::LruCache::with_hasher(MEMO, foldhash::fast::RandomState::default())),
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

    /// Whose eyes a session with these settings reads with, on a server that was opened with those of `base`.
    pub(super) fn reader_under(&self, base: &Arc<Reader>, settings: &Arc<Settings>) -> Arc<Reader> {
        if settings.iter().all(|(name, _)| name == "application_name") {
            return Arc::clone(base);
        }
        let key = (Arc::as_ptr(base).addr(), Arc::as_ptr(settings).addr());
        let mut readers = self.readers.lock();
        if let Some(under) = readers.get(&key) {
            return Arc::clone(&under.reader);
        }
        let reader = Arc::new(base.under(settings));
        readers.put(key, Under { reader: Arc::clone(&reader), _kept: (Arc::clone(base), Arc::clone(settings)) });
        reader
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::{RoutineRow, RoutineRows};

    fn rows() -> RoutineRows {
        let sets = RoutineRow {
            name: "sets".into(),
            language: "sql".into(),
            volatility: 'v',
            source: Some(b"SET a.b = 1".to_vec().into()),
            ..RoutineRow::default()
        };
        RoutineRows { builtin: vec!["now".into()], routines: vec![sets], hidden: Vec::new() }
    }

    #[test]
    fn a_function_of_a_user_is_known_until_the_schema_changes() {
        let mut shared = Shared::new(Arc::default(), "_p_", None);
        let judged = |shared: &Shared, sql: &str| shared.traces(&shared.classifier.classify(sql.as_bytes(), true));
        assert_eq!(judged(&shared, "select count(*) from t"), Judged::Known(Traces::default()));
        assert_eq!(judged(&shared, "select sets()"), Judged::Unknown);
        let routines = Arc::new(Routines::build(0, &rows()));
        shared.routines = Box::new(move || Some(Arc::clone(&routines)));
        assert_eq!(judged(&shared, "select now()"), Judged::Known(Traces::default()));
        let Judged::Known(traces) = judged(&shared, "select sets()") else { panic!("it was read") };
        assert_eq!(traces.settings, ["a.b".into()]);
        assert_eq!(judged(&shared, "select never_seen()"), Judged::NoSuchFunction);
        shared.schema_changed(true);
        assert_eq!(judged(&shared, "select sets()"), Judged::Unknown);
        assert_eq!(judged(&shared, "select now()"), Judged::Known(Traces::default()));
    }
}
