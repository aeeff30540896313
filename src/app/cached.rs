//! Floor 5. The result cache of each database: its catalog, its feed, and the fences whose outcome is open.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_postgres::config::SslMode;
use tokio_rustls::rustls::ClientConfig;
use tracing::{info, warn};

use crate::cache::{Cache, Counter, Database, FenceId, Rules, Settings, Suspension};
use crate::catalog::{AuthQuery, Change, MakeRustls, Mark, OnChange, Watcher};
use crate::client::Gate;
use crate::client::login::Queries;
use crate::config::{self, CacheMode, ChannelBinding, Config, Feed, Host, TlsMode, Upstream};
use crate::engine::CacheShared;
use crate::error::Result;
use crate::feed::{self, Notify};
use crate::query::Snapshot;
use crate::server::Target;

/// All of them.
pub(super) struct Caches {
    cache: Option<Cache>,
    open: Vec<Cached>,
    tasks: Vec<JoinHandle<()>>,
}

/// The cache of one database, as the statistics see it.
#[derive(Clone)]
pub(super) struct Cached {
    pub(super) database: Database,
    watcher: Arc<Watcher>,
    upstream: Upstream,
}

impl Cached {
    /// The catalog as it is known now.
    pub(super) fn snapshot(&self) -> Option<Arc<Snapshot>> {
        self.watcher.snapshot()
    }
}

impl Caches {
    /// One store for the whole process, if any database wants it.
    pub(super) fn new(config: &Config) -> Self {
        let wanted = config.databases.iter().any(|database| database.cache != CacheMode::Off);
        let settings = Settings {
            memory: config.cache.memory,
            max_result: config.cache.max_result,
            observe: config.cache.mode == CacheMode::Observe,
        };
        let cache = wanted.then(|| Cache::new(settings, Counter::default()));
        Self { cache, open: Vec::new(), tasks: Vec::new() }
    }

    /// The cache of one database, unless it is off there. A database with two names has one cache: what is written under
    /// the one must be seen under the other.
    pub(super) fn open(&mut self, config: &Config, section: &config::Database, target: &Target) -> Result<Option<CacheShared>> {
        let (Some(cache), true) = (self.cache.as_ref(), section.cache != CacheMode::Off) else { return Ok(None) };
        let shared = |database, watcher: &Arc<Watcher>| {
            let watcher = Arc::clone(watcher);
            CacheShared::new(database, Rules::new(&config.cache), Box::new(move || watcher.snapshot()))
        };
        if let Some(known) = self.open.iter().find(|known| is_same(&known.upstream, &section.upstream)) {
            return Ok(Some(shared(known.database.clone(), &known.watcher)));
        }
        let database = cache.database(&section.name);
        let control = Control::new(section, target);
        let watcher = Arc::new(watch(&database, &control, config.invalidation.catalog_check));
        if config.invalidation.feed == Feed::Notify {
            self.tasks.push(listen(&database, &control, &config.invalidation, &watcher));
        }
        self.tasks.push(tokio::spawn(settle_fences(database.clone(), control)));
        self.open.push(Cached { database: database.clone(), watcher: Arc::clone(&watcher), upstream: section.upstream.clone() });
        Ok(Some(shared(database, &watcher)))
    }

    /// What the statistics need.
    pub(super) fn handles(&self) -> Handles {
        Handles { cache: self.cache.clone(), open: self.open.clone() }
    }

    /// Ends the background tasks.
    pub(super) fn stop(&self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// Read by the statistics, purged by the operator.
#[derive(Clone)]
pub(super) struct Handles {
    pub(super) cache: Option<Cache>,
    pub(super) open: Vec<Cached>,
}

/// `[auth] query` for each database. One that has not changed keeps its connection.
pub(super) fn queries(config: &Config, gate: &Gate, old: &Queries) -> Queries {
    let Some(text) = &config.auth.query else { return Queries::default() };
    let opened = config.databases.iter().filter_map(|section| {
        // What is new in the configuration waits for a restart.
        let target = &gate.database(&section.name).ok()?.target;
        let known = old.get(&section.name).filter(|known| known.text() == text && known.name() == section.name);
        let query = known.map_or_else(
            || {
                let tls = target.tls.config().filter(|_| matches!(section.upstream.host, Host::Tcp { .. }));
                Arc::new(AuthQuery::new(&section.name, control(&section.upstream, tls.is_some()), tls, text))
            },
            Arc::clone,
        );
        Some((section.name.clone(), query))
    });
    Queries::new(opened.collect())
}

/// How to make a control connection.
#[derive(Clone)]
pub(super) struct Control {
    pub(super) server: tokio_postgres::Config,
    pub(super) tls: Option<Arc<ClientConfig>>,
}

impl Control {
    /// To the database, as its pool does.
    pub(super) fn new(section: &config::Database, target: &Target) -> Self {
        // Postgres speaks no TLS over a Unix socket.
        let tls = target.tls.config().filter(|_| matches!(section.upstream.host, Host::Tcp { .. }));
        Self { server: control(&section.upstream, tls.is_some()), tls }
    }
}

/// The same database of the same server, as far as their names tell.
fn is_same(a: &Upstream, b: &Upstream) -> bool {
    a.host == b.host && a.database == b.database
}

fn watch(database: &Database, control: &Control, every: Duration) -> Watcher {
    let (marked, changed) = (database.clone(), database.clone());
    // Nothing comes from memory before the catalog has been read.
    database.suspend(Suspension::CatalogUnknown);
    let mark: Mark = Arc::new(move || marked.catalog_mark());
    let on_change: OnChange = Arc::new(move |change| match change {
        Change::Loaded => {
            if changed.is_suspended(Suspension::CatalogUnknown) {
                changed.resume(Suspension::CatalogUnknown);
            }
        }
        Change::Drift => {
            info!(database = changed.name(), "the catalog has changed elsewhere: everything cached is dropped");
            changed.bump_catalog();
        }
        Change::Lost => {
            changed.suspend(Suspension::CatalogUnknown);
            // What changes until the catalog is read again must not go by the version of now: plans and footprints of
            // before would be taken for those of after.
            changed.bump_catalog();
        }
    });
    let mut server = control.server.clone();
    server.application_name("pgdial catalog");
    Watcher::spawn(server, control.tls.clone(), every, mark, on_change)
}

fn listen(database: &Database, control: &Control, settings: &config::Invalidation, watcher: &Arc<Watcher>) -> JoinHandle<()> {
    let settings = feed::Settings { channel: settings.notify.clone(), max_lag: settings.max_lag };
    let (read, asked) = (Arc::clone(watcher), Arc::clone(watcher));
    let catalog: feed::Catalog = Arc::new(move || read.snapshot());
    let reload = move || asked.reload();
    let (server, database) = (control.server.clone(), database.clone());
    match &control.tls {
        Some(tls) => {
            tokio::spawn(Notify::new(server, MakeRustls::new(Arc::clone(tls)), settings, database, catalog, reload).run())
        }
        None => tokio::spawn(Notify::new(server, tokio_postgres::NoTls, settings, database, catalog, reload).run()),
    }
}

/// Takes down the fences of lost connections, once Postgres says that their processes are gone and have left no prepared
/// transaction behind.
async fn settle_fences(database: Database, control: Control) {
    loop {
        sleep(SETTLE_EVERY).await;
        let open = database.unresolved();
        if open.is_empty() {
            continue;
        }
        let pids: Vec<i32> = open.iter().map(|fence| fence.origin.pid).collect();
        match timeout(SETTLE_LIMIT, alive(&control, &pids)).await {
            Ok(Ok(alive)) => {
                let gone = open.iter().filter(|fence| !alive.contains(&fence.origin.pid));
                gone.for_each(|fence| resolve(&database, fence.id));
            }
            Ok(Err(error)) => warn!(database = database.name(), %error, "fences stay up: Postgres cannot be asked"),
            Err(_) => warn!(database = database.name(), "fences stay up: Postgres does not answer"),
        }
    }
}

fn resolve(database: &Database, id: FenceId) {
    if !database.resolve(id) {
        warn!(database = database.name(), ?id, "a fence was settled twice");
    }
}

/// Those of `pids` that may still commit.
async fn alive(control: &Control, pids: &[i32]) -> Result<Vec<i32>, tokio_postgres::Error> {
    let mut server = control.server.clone();
    server.application_name("pgdial fences");
    match &control.tls {
        Some(tls) => {
            let (client, link) = server.connect(MakeRustls::new(Arc::clone(tls))).await?;
            ask(&client, link, pids).await
        }
        None => {
            let (client, link) = server.connect(tokio_postgres::NoTls).await?;
            ask(&client, link, pids).await
        }
    }
}

async fn ask(
    client: &tokio_postgres::Client,
    link: impl Future<Output = Result<(), tokio_postgres::Error>>,
    pids: &[i32],
) -> Result<Vec<i32>, tokio_postgres::Error> {
    let parameters: &[&(dyn tokio_postgres::types::ToSql + Sync)] = &[&pids];
    tokio::select! {
        rows = client.query(ALIVE, parameters) => Ok(rows?.iter().map(|row| row.get(0)).collect()),
        ended = link => ended.map(|()| pids.to_vec()),
    }
}

fn control(upstream: &Upstream, tls: bool) -> tokio_postgres::Config {
    let mut server = tokio_postgres::Config::new();
    match &upstream.host {
        Host::Tcp { host, port } => server.host(host).port(*port),
        Host::Unix { dir, port } => server.host_path(dir).port(*port),
    };
    server.user(&upstream.user).dbname(&upstream.database).connect_timeout(CONNECT_TIMEOUT);
    if let Some(password) = &upstream.password {
        server.password(password.expose());
    }
    server.channel_binding(match upstream.channel_binding {
        ChannelBinding::Disable => tokio_postgres::config::ChannelBinding::Disable,
        ChannelBinding::Prefer => tokio_postgres::config::ChannelBinding::Prefer,
        ChannelBinding::Require => tokio_postgres::config::ChannelBinding::Require,
    });
    server.ssl_mode(match upstream.tls {
        _ if !tls => SslMode::Disable,
        TlsMode::Disable => SslMode::Disable,
        TlsMode::Allow | TlsMode::Prefer => SslMode::Prefer,
        TlsMode::Require | TlsMode::VerifyCa | TlsMode::VerifyFull => SslMode::Require,
    });
    server
}

/// A prepared transaction belongs to no process: while there is one in this database, every fence waits for it.
const ALIVE: &str = "SELECT pid FROM unnest($1::int4[]) AS asked(pid) \
    WHERE EXISTS (SELECT FROM pg_catalog.pg_stat_activity a WHERE a.pid = asked.pid) \
    OR EXISTS (SELECT FROM pg_catalog.pg_prepared_xacts p WHERE p.database = pg_catalog.current_database())";

const SETTLE_EVERY: Duration = Duration::from_millis(100);
const SETTLE_LIMIT: Duration = Duration::from_secs(5);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
