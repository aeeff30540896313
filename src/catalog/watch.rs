//! Floor 3. Keeps the snapshot of one database current, or withdraws it.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use deadpool_postgres::{Manager, Object, Pool, Runtime};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_postgres::{NoTls, Statement};
use tokio_rustls::rustls::ClientConfig;

use super::load::{DRIFT, load};
use super::tls::MakeRustls;
use crate::query::Snapshot;

/// What a watcher has to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Change {
    /// A snapshot was published.
    Loaded,
    /// The catalog is not what it was, and nobody had announced it: footprints since the last check may have been too short.
    Drift,
    /// The control connection is gone and the snapshot withdrawn.
    Lost,
}

impl Change {
    /// One word, for metrics, logs and docs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Loaded => "loaded",
            Self::Drift => "drift",
            Self::Lost => "lost",
        }
    }
}

/// The version that a snapshot read from now on must carry. `None`: not now, ask again in a moment.
pub type Mark = Arc<dyn Fn() -> Option<u64> + Send + Sync>;
/// Told of each change, in order, from the watcher's task: it must not block.
pub type OnChange = Arc<dyn Fn(Change) + Send + Sync>;

/// Watches the catalog of one database until it is dropped.
pub struct Watcher {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    snapshot: ArcSwapOption<Snapshot>,
    reload: Notify,
}

impl Watcher {
    /// Begins to watch. `tls`: as the pool's own; `None` = without TLS. `mark` is asked before each load, and a published snapshot
    /// whose version is not the mark's any more is read again.
    pub fn spawn(
        pg_config: tokio_postgres::Config,
        tls: Option<Arc<ClientConfig>>,
        check_every: Duration,
        mark: Mark,
        on_change: OnChange,
    ) -> Self {
        let shared = Arc::new(Shared { snapshot: ArcSwapOption::empty(), reload: Notify::new() });
        let task = Task { shared: Arc::clone(&shared), pg_config, tls, check_every: check_every.max(TICK), mark, on_change };
        Self { shared, task: tokio::spawn(task.run()) }
    }

    /// The catalog as read last; `None` while it is not known.
    pub fn snapshot(&self) -> Option<Arc<Snapshot>> {
        self.shared.snapshot.load_full()
    }

    /// Asks for a new load soon: DDL was seen.
    pub fn reload(&self) {
        self.shared.reload.notify_one();
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Task {
    shared: Arc<Shared>,
    pg_config: tokio_postgres::Config,
    tls: Option<Arc<ClientConfig>>,
    check_every: Duration,
    mark: Mark,
    on_change: OnChange,
}

/// Why a control connection was given up.
pub(super) enum Lost {
    Connect(String),
    Closed,
    Stuck,
    Failed(tokio_postgres::Error),
}

impl std::fmt::Display for Lost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Connect(why) => write!(f, "cannot connect: {why}"),
            Self::Closed => write!(f, "closed by the server"),
            Self::Stuck => write!(f, "no answer in time"),
            Self::Failed(error) => match error.as_db_error() {
                Some(refusal) => write!(f, "refused: {}", refusal.message()),
                None => write!(f, "{error}"),
            },
        }
    }
}

impl From<tokio_postgres::Error> for Lost {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Failed(error)
    }
}

impl Task {
    async fn run(self) {
        let mut pause = FIRST_PAUSE;
        loop {
            let begin = Instant::now();
            let Err(lost) = self.watch().await;
            if self.shared.snapshot.swap(None).is_some() {
                (self.on_change)(Change::Lost);
            }
            tracing::warn!(reason = %lost, "the control connection that reads the catalog is lost");
            pause = if begin.elapsed() > LAST_PAUSE { FIRST_PAUSE } else { (pause * 2).min(LAST_PAUSE) };
            sleep(pause).await;
        }
    }

    /// From connect to loss.
    async fn watch(&self) -> Result<std::convert::Infallible, Lost> {
        let client = connect(&self.pg_config, self.tls.as_ref()).await?;
        let drift = bounded(LOAD_TIMEOUT, client.prepare(DRIFT)).await?;
        let mut current = self.load(&client).await?;
        loop {
            self.rest(&client, &current).await?;
            let limit = Duration::from_secs(1).max(self.check_every * 3);
            let fingerprint = bounded(limit, fingerprint(&client, &drift)).await?;
            let announced = (self.mark)() != Some(current.version);
            if fingerprint != *current.fingerprint && !announced {
                (self.on_change)(Change::Drift);
            }
            if fingerprint != *current.fingerprint || announced {
                current = self.load(&client).await?;
            }
        }
    }

    /// Until the next check is due or asked for. A closed connection is noticed within a tick.
    async fn rest(&self, client: &Object, current: &Snapshot) -> Result<(), Lost> {
        let due = Instant::now() + self.check_every;
        while Instant::now() < due {
            if client.is_closed() {
                return Err(Lost::Closed);
            }
            if (self.mark)().is_some_and(|mark| mark != current.version) {
                return Ok(());
            }
            if timeout(TICK, self.shared.reload.notified()).await.is_ok() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Loads until one was read under a mark that still stands.
    async fn load(&self, client: &Object) -> Result<Arc<Snapshot>, Lost> {
        loop {
            let Some(mark) = (self.mark)() else {
                if client.is_closed() {
                    return Err(Lost::Closed);
                }
                sleep(TICK).await;
                continue;
            };
            let snapshot = Arc::new(bounded(LOAD_TIMEOUT, load(client, mark)).await?);
            if (self.mark)() == Some(mark) {
                self.shared.snapshot.store(Some(Arc::clone(&snapshot)));
                (self.on_change)(Change::Loaded);
                return Ok(snapshot);
            }
        }
    }
}

pub(super) async fn bounded<T>(
    limit: Duration,
    answer: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<T, Lost> {
    timeout(limit, answer).await.map_err(|_| Lost::Stuck)?.map_err(Lost::from)
}

/// A control connection that nothing of a role's or database's own settings can spoil. Its pool of one is made anew for each try:
/// a connection that was given up is not to be met again.
pub(super) async fn connect(pg_config: &tokio_postgres::Config, tls: Option<&Arc<ClientConfig>>) -> Result<Object, Lost> {
    let manager = match tls {
        Some(config) => Manager::new(pg_config.clone(), MakeRustls::new(Arc::clone(config))),
        None => Manager::new(pg_config.clone(), NoTls),
    };
    let pool = Pool::builder(manager).max_size(1).runtime(Runtime::Tokio1).build();
    let pool = pool.map_err(|error| Lost::Connect(error.to_string()))?;
    let connected = timeout(CONNECT_TIMEOUT, pool.get()).await.map_err(|_| Lost::Stuck)?;
    let client = connected.map_err(|error| Lost::Connect(error.to_string()))?;
    bounded(LOAD_TIMEOUT, client.batch_execute(SETTINGS)).await?;
    Ok(client)
}

async fn fingerprint(client: &Object, drift: &Statement) -> Result<String, tokio_postgres::Error> {
    client.query_one(drift, &[]).await?.try_get(0)
}

/// What a role's or database's own settings must not spoil. A statement that waits for a lock outlives the connection that was
/// given up over it: it ends by itself, after LOAD_TIMEOUT.
const SETTINGS: &str = "SET search_path = pg_catalog; SET statement_timeout = '60s'; SET jit = off; SET row_security = off";
const TICK: Duration = Duration::from_millis(25);
pub(super) const FIRST_PAUSE: Duration = Duration::from_millis(100);
pub(super) const LAST_PAUSE: Duration = Duration::from_secs(5);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
pub(super) const LOAD_TIMEOUT: Duration = Duration::from_secs(60);
