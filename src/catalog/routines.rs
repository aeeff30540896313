//! Floor 3. Keeps what the functions of one database leave behind in sessions current, or withdraws it; and notices when what
//! sessions begin with is changed elsewhere.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use deadpool_postgres::Object;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_postgres::types::{FromSql, Type};
use tokio_postgres::{Client, Error, Row, Statement};
use tokio_rustls::rustls::ClientConfig;
use tracing::{debug, warn};

use super::watch::{FIRST_PAUSE, LAST_PAUSE, LOAD_TIMEOUT, Lost, bounded, connect};
use crate::query::{HiddenRow, Place, RoutineRow, RoutineRows, Routines, Runs};

const CHECK: &str = include_str!("routines/check.sql");
const DEFAULTS: &str = include_str!("routines/defaults.sql");
const NAMES: &str = include_str!("routines/names.sql");
const ROUTINES: &str = include_str!("routines/routines.sql");
const HIDDEN: &str = include_str!("routines/hidden.sql");

/// How many changes of the schema have been seen.
pub type Generation = Arc<dyn Fn() -> u64 + Send + Sync>;

/// Watches the routines of one database until it is dropped.
pub struct RoutineWatcher {
    task: JoinHandle<()>,
}

impl RoutineWatcher {
    /// Begins to watch, and publishes in `routines`. `tls`: as the pool's own; `None` = without TLS. `wanted` tells that `generation`
    /// has moved. `defaults`: moved when a change was made elsewhere.
    pub fn spawn(
        pg_config: tokio_postgres::Config,
        tls: Option<Arc<ClientConfig>>,
        check_every: Duration,
        generation: Generation,
        defaults: Arc<AtomicU64>,
        wanted: Arc<Notify>,
        routines: Arc<ArcSwapOption<Routines>>,
    ) -> Self {
        let task = Task { pg_config, tls, check_every: check_every.max(TICK), generation, defaults, wanted, routines };
        Self { task: tokio::spawn(task.run()) }
    }
}

impl Drop for RoutineWatcher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Task {
    pg_config: tokio_postgres::Config,
    tls: Option<Arc<ClientConfig>>,
    check_every: Duration,
    generation: Generation,
    /// Counts changes of what sessions begin with. The watchers of all databases count in one.
    defaults: Arc<AtomicU64>,
    wanted: Arc<Notify>,
    routines: Arc<ArcSwapOption<Routines>>,
}

impl Task {
    async fn run(self) {
        let mut pause = FIRST_PAUSE;
        loop {
            let begin = Instant::now();
            let Err(lost) = self.watch().await;
            self.routines.store(None);
            warn!(reason = %lost, "the control connection that reads functions is lost");
            pause = if begin.elapsed() > LAST_PAUSE { FIRST_PAUSE } else { (pause * 2).min(LAST_PAUSE) };
            sleep(pause).await;
        }
    }

    /// From connect to loss.
    async fn watch(&self) -> Result<std::convert::Infallible, Lost> {
        let client = connect(&self.pg_config, self.tls.as_ref()).await?;
        let check = bounded(LOAD_TIMEOUT, client.prepare(CHECK)).await?;
        let begin_with = bounded(LOAD_TIMEOUT, client.prepare(DEFAULTS)).await?;
        let (mut known, mut begun) = (String::new(), None);
        let mut not_before = Instant::now();
        loop {
            // Before the question: what is seen to change from here on makes the answer old.
            begun = Some(self.compare_defaults(&client, &begin_with, begun).await?);
            let generation = (self.generation)();
            let fingerprint = bounded(LOAD_TIMEOUT, fingerprint(&client, &check)).await?;
            let current = self.routines.load_full().filter(|_| fingerprint == known);
            match current {
                Some(current) if current.generation == generation => {}
                Some(current) => self.routines.store(Some(Arc::new(current.at(generation)))),
                None => {
                    // Where tables come and go all the time, Postgres is not kept busy with being read.
                    sleep_until(not_before).await;
                    let begin = Instant::now();
                    known = self.load(&client).await?;
                    not_before = Instant::now() + pause_after(begin.elapsed());
                }
            }
            self.rest(&client).await?;
        }
    }

    async fn load(&self, client: &Object) -> Result<String, Lost> {
        let generation = (self.generation)();
        let (fingerprint, rows) = bounded(LOAD_TIMEOUT, load_routines(client)).await?;
        // Reading tens of megabytes of bodies takes its time.
        let built = tokio::task::spawn_blocking(move || Routines::build(generation, &rows)).await;
        let routines = built.map_err(|_| Lost::Stuck)?;
        for (name, traces) in routines.traced() {
            debug!(name, effects = ?traces.effects, settings = traces.settings.join(" "), "a function that leaves traces in its session");
        }
        self.routines.store(Some(Arc::new(routines)));
        Ok(fingerprint)
    }

    /// What is seen to change without a statement of a client of ours was changed elsewhere.
    async fn compare_defaults(&self, client: &Object, ask: &Statement, before: Option<Begun>) -> Result<Begun, Lost> {
        let seen = self.defaults.load(Ordering::Acquire);
        let row = bounded(LOAD_TIMEOUT, client.query_one(ask, &[])).await?;
        let text = |column| row.try_get::<_, String>(column).unwrap_or_default();
        let mut now = Begun { settings: text(0), read: text(1), seen };
        let elsewhere = |before: &Begun| {
            // Reading the file takes Postgres a moment: what was opened in it may have begun with the old one.
            before.read != now.read || (before.settings != now.settings && before.seen == now.seen)
        };
        if before.as_ref().is_some_and(elsewhere) {
            debug!("what sessions begin with has changed elsewhere: servers are opened anew for clients to come");
            now.seen = self.defaults.fetch_add(1, Ordering::AcqRel) + 1;
        }
        Ok(now)
    }

    /// Until the next check is due or asked for. A closed connection is noticed within a tick.
    async fn rest(&self, client: &Object) -> Result<(), Lost> {
        let due = Instant::now() + self.check_every;
        while Instant::now() < due {
            if client.is_closed() {
                return Err(Lost::Closed);
            }
            if timeout(TICK, self.wanted.notified()).await.is_ok() {
                return Ok(());
            }
        }
        Ok(())
    }
}

/// With what sessions begin, as seen last.
struct Begun {
    /// ALTER ROLE .. SET, ALTER DATABASE .. SET.
    settings: String,
    /// When the configuration file was read.
    read: String,
    /// The changes that were known of then.
    seen: u64,
}

/// A small catalog is read again soon, since statements wait for it; of a large one no more than half of the time is spent on it.
fn pause_after(load: Duration) -> Duration {
    (load * 9).min(SOON.max(load))
}

async fn fingerprint(client: &Client, check: &Statement) -> Result<String, Error> {
    client.query_one(check, &[]).await?.try_get(0)
}

/// Reads all that routines are built from, and a text that is equal as long as that is.
pub async fn load_routines(client: &Client) -> Result<(String, RoutineRows), Error> {
    client.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL search_path = pg_catalog").await?;
    let fingerprint: String = client.query_one(CHECK, &[]).await?.try_get(0)?;
    let names = client.query(NAMES, &[]).await?;
    let routines = client.query(ROUTINES, &[&MAX_BODY, &MAX_BODIES]).await?;
    let hidden = client.query(HIDDEN, &[]).await?;
    client.batch_execute("COMMIT").await?;
    let rows = RoutineRows {
        builtin: names.iter().map(|row| name(row, 0)).collect::<Result<_, _>>()?,
        routines: routines.iter().map(routine).collect::<Result<_, _>>()?,
        hidden: hidden.iter().filter_map(|row| hidden_row(row).transpose()).collect::<Result<_, _>>()?,
    };
    Ok((fingerprint, rows))
}

fn routine(row: &Row) -> Result<RoutineRow, Error> {
    Ok(RoutineRow {
        name: name(row, 0)?,
        language: name(row, 1)?,
        volatility: char::from(row.try_get::<_, i8>(2)?.cast_unsigned()),
        extension: row.try_get::<_, Option<Bytes<'_>>>(3)?.map(text),
        one_argument: row.try_get(4)?,
        source: row.try_get::<_, Option<Bytes<'_>>>(5)?.map(|source| source.0.into()),
    })
}

/// `None`: a letter that `hidden.sql` does not have.
fn hidden_row(row: &Row) -> Result<Option<HiddenRow>, Error> {
    let Some(place) = place(&name(row, 0)?, name(row, 1)?) else { return Ok(None) };
    let (kind, what) = (name(row, 2)?, name(row, 3)?);
    let runs = if &*kind == "t" { Some(Runs::Text(what)) } else { self::place(&kind, what).map(Runs::Place) };
    Ok(runs.map(|runs| HiddenRow { place, runs }))
}

fn place(kind: &str, name: Box<str>) -> Option<Place> {
    Some(match kind {
        "f" => Place::Routine(name),
        "o" => Place::Operator(name),
        "r" => Place::Read(name),
        "w" => Place::Write(name),
        "e" => Place::Everywhere,
        "d" => Place::Ddl,
        _ => return None,
    })
}

fn name(row: &Row, column: usize) -> Result<Box<str>, Error> {
    row.try_get(column).map(text)
}

fn text(bytes: Bytes<'_>) -> Box<str> {
    String::from_utf8_lossy(bytes.0).into()
}

/// Text as it came: a database of encoding SQL_ASCII holds any bytes.
#[derive(Clone, Copy)]
struct Bytes<'a>(&'a [u8]);

impl<'a> FromSql<'a> for Bytes<'a> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(raw))
    }

    fn accepts(ty: &Type) -> bool {
        matches!(*ty, Type::TEXT | Type::NAME | Type::VARCHAR | Type::UNKNOWN)
    }
}

/// Longer bodies count as everything.
const MAX_BODY: i64 = 1 << 20;
/// And so does what comes after this much.
const MAX_BODIES: i64 = 64 << 20;
/// Much shorter than what a statement waits for its functions to be read.
const SOON: Duration = Duration::from_millis(100);
const TICK: Duration = Duration::from_millis(100);
