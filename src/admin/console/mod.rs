//! Floor 3. The console: the database `pgdial`, answered without a server, in PgBouncer's words.
//!
//! ```text
//! message -> session (simple and extended protocol) -> command -> show: a table made from Operator's views
//!                                                              -> Order: carried out by the driver, then `carried_out`
//! ```
//! No IO and no wait in here: whoever drives a [`Session`] reads and writes, and waits for what an [`Order`] takes.

mod command;
mod drivers;
mod session;
mod show;
mod sockets;
mod table;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::{Duration, SystemTime};

use crate::error::{Error, Result};
use crate::metrics::TrafficStats;

use super::{Purge, Source};

pub use self::session::{Goes, Session, Step};

/// A change that the operator asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// No more work for servers; ends when the last connection is closed. `None` = every database.
    Pause(Option<String>),
    /// Ends a pause.
    Resume(Option<String>),
    /// Every server connection is replaced, those in use when they come back.
    Reconnect(Option<String>),
    /// Clients and servers are dropped, and the database stays paused.
    Kill(Option<String>),
    /// One client is dropped.
    KillClient(i32),
    /// Ends when all connections marked by RECONNECT are closed.
    WaitClose(Option<String>),
    /// No new clients.
    Disable(String),
    /// New clients again.
    Enable(String),
    /// The configuration is read again.
    Reload,
    /// The end of the process.
    Shutdown(Shutdown),
    /// Results are dropped from memory.
    Purge(Purge),
}

impl Order {
    /// The command's tag.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Pause(_) => "PAUSE",
            Self::Resume(_) => "RESUME",
            Self::Reconnect(_) => "RECONNECT",
            Self::Kill(_) => "KILL",
            Self::KillClient(_) => "KILL_CLIENT",
            Self::WaitClose(_) => "WAIT_CLOSE",
            Self::Disable(_) => "DISABLE",
            Self::Enable(_) => "ENABLE",
            Self::Reload => "RELOAD",
            Self::Shutdown(_) => "SHUTDOWN",
            Self::Purge(_) => "PURGE",
        }
    }
}

/// How the process is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// At once.
    Now,
    /// No new clients; running transactions end first.
    WaitForServers,
    /// No new clients; those that are here stay until they go.
    WaitForClients,
}

/// What an order still waits for.
pub type Wait = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What the console shows and does; `app` implements it.
pub trait Operator: Source {
    /// Carries out an order, or begins to.
    ///
    /// # Errors
    /// What is wrong with it; nothing has changed then.
    fn order(&self, order: &Order) -> Result<Wait>;

    /// The operator waits no longer for this order: what can be taken back of it is.
    fn withdraw(&self, order: &Order);

    /// Databases.
    fn databases(&self) -> Vec<DatabaseView>;
    /// Pools.
    fn pools(&self) -> Vec<PoolView>;
    /// Users.
    fn users(&self) -> Vec<UserView>;
    /// Clients that are logged in, those of the console included.
    fn clients(&self) -> Vec<SocketView>;
    /// Server connections.
    fn servers(&self) -> Vec<SocketView>;
    /// What passed: database, its totals, and those of the last period with its length.
    fn traffic(&self) -> Vec<TrafficView>;
    /// Pinned clients.
    fn pins(&self) -> Vec<PinView>;
    /// Memory by use.
    fn memory(&self) -> Vec<MemoryView>;
    /// Settings: key, value, default, and whether a reload changes it.
    fn settings(&self) -> Vec<(String, String, String, bool)>;
    /// `[[cache.rule]]`.
    fn rules(&self) -> Vec<RuleView>;
}

/// A row of SHOW DATABASES.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs, reason = "the columns of SHOW DATABASES")]
pub struct DatabaseView {
    pub name: String,
    pub host: Option<String>,
    pub port: u16,
    pub database: String,
    pub pool_size: usize,
    pub min_pool_size: usize,
    pub server_lifetime: Duration,
    pub max_clients: usize,
    pub servers: usize,
    pub clients: usize,
    pub paused: bool,
    pub disabled: bool,
}

/// A row of SHOW POOLS.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs, reason = "the columns of SHOW POOLS")]
pub struct PoolView {
    pub database: String,
    pub user: String,
    pub clients: usize,
    pub waiting: usize,
    pub active: usize,
    pub idle: usize,
    pub dialing: usize,
    pub max_wait: Duration,
    pub mode: &'static str,
}

/// A row of SHOW USERS.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs, reason = "the columns of SHOW USERS")]
pub struct UserView {
    pub name: String,
    pub pool_size: Option<usize>,
    pub max_clients: Option<usize>,
    pub servers: usize,
    pub clients: usize,
}

/// A row of SHOW CLIENTS or SHOW SERVERS.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the columns of SHOW CLIENTS")]
pub struct SocketView {
    pub server: bool,
    pub user: String,
    pub database: String,
    pub state: &'static str,
    pub address: Option<SocketAddr>,
    pub local: Option<SocketAddr>,
    pub since: SystemTime,
    pub requested: SystemTime,
    pub waited: Duration,
    pub close_needed: bool,
    pub link: Option<i64>,
    pub pid: i32,
    pub tls: bool,
    pub application: String,
    pub statements: u32,
    pub id: i64,
}

/// What passed through one database.
#[derive(Clone, Debug, Default)]
pub struct TrafficView {
    /// Its name.
    pub database: String,
    /// Since the start.
    pub total: Traffic,
    /// In the last period.
    pub recent: Traffic,
    /// How long that was.
    pub period: Duration,
}

/// Counts of traffic and of the pool.
#[derive(Clone, Copy, Debug, Default)]
pub struct Traffic {
    /// What passed.
    pub passed: TrafficStats,
    /// Servers handed to clients.
    pub checkouts: u64,
    /// Microseconds that clients waited for them.
    pub wait_us: u64,
}

/// A row of SHOW PINS.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the columns of SHOW PINS")]
pub struct PinView {
    pub id: i32,
    pub database: String,
    pub user: String,
    pub address: String,
    pub application: String,
    pub reasons: Vec<&'static str>,
    pub age: Duration,
    pub server: Option<i32>,
}

/// A row of SHOW MEM.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "the columns of SHOW MEM")]
pub struct MemoryView {
    pub name: &'static str,
    pub size: u64,
    pub used: u64,
    pub free: u64,
    pub total: u64,
}

/// A row of SHOW RULES.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the columns of SHOW RULES")]
pub struct RuleView {
    pub tables: String,
    pub ttl: String,
    pub freshness: &'static str,
}

/// The console's refusals end no session.
fn refusal(sqlstate: [u8; 5], message: impl Into<String>) -> Error {
    let error = Error::new(crate::error::Kind::Unsupported, message.into());
    error.with_sqlstate(crate::error::SqlState(sqlstate))
}

/// What clients ask for, and what the console calls itself in its own tables.
const CONSOLE_NAME: &str = crate::config::CONSOLE;

impl Traffic {
    /// What came after `before` was taken.
    pub fn since(&self, before: &Self) -> Self {
        Self {
            passed: self.passed.since(&before.passed),
            checkouts: self.checkouts.saturating_sub(before.checkouts),
            wait_us: self.wait_us.saturating_sub(before.wait_us),
        }
    }

    /// All together.
    fn sum(parts: impl Iterator<Item = Self> + Clone) -> Self {
        Self {
            passed: TrafficStats::sum(parts.clone().map(|part| part.passed)),
            checkouts: parts.clone().map(|part| part.checkouts).sum(),
            wait_us: parts.map(|part| part.wait_us).sum(),
        }
    }
}
