//! Floor 5. `pgdial demo`: a private throw-away Postgres, pgdial in front of it, and what each thing costs straight, pooled and cached.
//!
//! Everything listens on 127.0.0.1 with a random password, and is gone at the end, however it ends: the values that own the
//! server process and its directory clean up when they are dropped.

mod figures;
mod postgres;
mod report;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::config::{Config, File};
use crate::error::{Error, Kind, Result};
use postgres::{DATABASE, Postgres, USER};
use report::Report;

const SHOP: &str = include_str!("../../sql/demo.sql");

/// For clients that are still connected when the demo ends.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// A pgdial that runs in this process.
pub struct Running {
    /// Where clients connect.
    pub address: SocketAddr,
    /// The stats endpoint.
    pub admin: SocketAddr,
    /// `true` stops it.
    pub stop: watch::Sender<bool>,
    /// Ends when it has stopped.
    pub task: JoinHandle<()>,
}

/// Runs the demo; `start` starts a pgdial in this process. With `once` it ends by itself, otherwise with Ctrl-C or SIGTERM.
///
/// # Errors
/// No Postgres to be found, or a read that was not fresh.
pub async fn run<S, F>(once: bool, start: S) -> Result<()>
where
    S: FnOnce(Config) -> F,
    F: Future<Output = Result<Running>>,
{
    let mut interrupt = Interrupt::new()?;
    let mut report = Report::new();
    let demo = tokio::select! {
        demo = Demo::begin(&mut report, start) => demo?,
        () = interrupt.wait() => return Ok(()),
    };
    let shown = tokio::select! {
        shown = figures::show(&mut report, &demo.straight, &demo.pgdial) => shown.map(|()| true),
        () = interrupt.wait() => Ok(false),
    };
    if matches!(shown, Ok(true)) {
        demo.invite(&mut report, once);
        if !once {
            interrupt.wait().await;
        }
    }
    demo.end().await;
    shown.map(drop)
}

struct Demo {
    // Dropped in this order: pgdial before the Postgres behind it.
    running: Running,
    _postgres: Postgres,
    straight: tokio_postgres::Config,
    pgdial: tokio_postgres::Config,
    password: String,
}

impl Demo {
    async fn begin<S, F>(report: &mut Report, start: S) -> Result<Self>
    where
        S: FnOnce(Config) -> F,
        F: Future<Output = Result<Running>>,
    {
        report.line("pgdial demo");
        let password = postgres::random_word()?;
        let postgres = report.step("starting a private Postgres", Postgres::start(&password)).await?;
        let straight = login(postgres.address(), &password);
        report.step("loading a sample shop with 300,000 orders", load(&straight)).await?;
        let config = Config::load(Some(File { name: "demo", text: &settings(&postgres, &password) }), None, [])?;
        let running = report.step("starting pgdial in front of it", start(config)).await?;
        let pgdial = login(running.address, &password);
        Ok(Self { running, _postgres: postgres, straight, pgdial, password })
    }

    fn invite(&self, report: &mut Report, once: bool) {
        let url = format!("postgres://{USER}:{}@{}/{DATABASE}", self.password, self.running.address);
        report.line("");
        report.line(&format!("  DATABASE_URL={url}"));
        report.line(&format!("  psql '{url}'"));
        report.line(&format!("  http://{}/  shows the figures live", self.running.admin));
        report.line("");
        if !once {
            report.line("  Ctrl-C stops everything and leaves nothing behind.");
        }
    }

    async fn end(self) {
        // The receiver is gone if pgdial has stopped already.
        let _ = self.running.stop.send(true);
        let _ = timeout(STOP_TIMEOUT, self.running.task).await;
    }
}

fn login(address: SocketAddr, password: &str) -> tokio_postgres::Config {
    let mut config = tokio_postgres::Config::new();
    config.host(address.ip().to_string()).port(address.port());
    config.user(USER).password(password).dbname(DATABASE).application_name("pgdial demo");
    config.connect_timeout(Duration::from_secs(10));
    config
}

async fn load(straight: &tokio_postgres::Config) -> Result<()> {
    figures::connect(straight).await?.batch_execute(SHOP).await.map_err(failed("the sample shop could not be loaded"))
}

/// The dashboard's tables are cached, `customers` is not: so the same query can be timed with and without memory.
fn settings(postgres: &Postgres, password: &str) -> String {
    format!(
        r#"
        [listen]
        address = "127.0.0.1:0"
        [upstream]
        url = "postgres://{USER}:{password}@{}/{DATABASE}"
        tls = "disable"
        [cache]
        mode = "on"
        [invalidation]
        feed = "notify"
        [admin]
        address = "127.0.0.1:0"
        [log]
        level = "warn"
        [[cache.rule]]
        tables = ["public.categories", "public.products", "public.orders"]
        ttl = "forever"
        "#,
        postgres.address()
    )
}

/// Ctrl-C and SIGTERM. Kept from start to end: a signal that comes between two waits is not lost.
struct Interrupt {
    interrupt: Signal,
    terminate: Signal,
}

impl Interrupt {
    fn new() -> Result<Self> {
        let listen = |kind| signal(kind).map_err(failed("signals cannot be received"));
        Ok(Self { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())? })
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// The demo is its own client and its own operator: causes are shown.
fn failed<E: std::error::Error + Send + Sync + 'static>(what: &'static str) -> impl Fn(E) -> Error {
    move |cause| {
        let text = chain(&cause);
        Error::new(Kind::Internal, format!("{what}: {text}")).with_source(cause)
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn refused(what: &str) -> io::Error {
    io::Error::other(what.to_owned())
}

#[cfg(test)]
mod tests;
