//! Floor 0. The config file, the environment and the command line, made into one validated [`Config`].
//!
//! ```text
//!  file text --+
//!  PGDIAL_*  --+-> settings (one table, each key with its origin) -> raw::Raw (defaults filled in) -> validate -> Config
//!  --upstream -+
//! ```
//! Invariants: a `Config` that exists is usable as it is; every complaint names key, value and remedy, and where the
//! value came from; nothing here reads a file or the environment, both come in as arguments.
//! Of several sources the later one wins: default, `DATABASE_URL`, file, `PGDIAL_*`, command line.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

mod mode;
mod raw;
pub mod reload;
mod secret;
mod settings;
mod shown;
mod unsupported;
mod upstream;
mod validate;
mod value;

#[cfg(test)]
mod tests;

pub use mode::{
    AuthMethod, CacheMode, ChannelBinding, Currval, Feed, Freshness, IdleOrder, LogFormat, LogLevel, PlansMode, PoolMode, TlsMode,
};
pub use secret::Secret;
pub use settings::{File, defaults, schema};
pub use shown::shown;
pub use upstream::{Host, Upstream};
pub use value::{AddressMatch, TableName, Ttl};

/// The name that opens the console instead of a database.
pub const CONSOLE: &str = "pgdial";

/// May a user that has proved who it is give orders to pgdial?
pub fn may_use_console(config: &Config, user: &str) -> bool {
    config.auth.console_users.iter().any(|allowed| allowed == user)
}

/// Everything that can be configured, validated.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where clients connect.
    pub listen: Listen,
    /// How clients prove who they are.
    pub auth: Auth,
    /// The servers' pools.
    pub pool: Pool,
    /// Server-side statements.
    pub plans: Plans,
    /// Results from memory.
    pub cache: Cache,
    /// How changes made elsewhere are learned.
    pub invalidation: Invalidation,
    /// The stats endpoint.
    pub admin: Admin,
    /// Logs.
    pub log: Log,
    /// What clients may connect to; never empty, the first is `[upstream] url`.
    pub databases: Vec<Database>,
    /// Who may log in: `[[user]]` first, then the own user of each database's URL.
    pub users: Vec<User>,
    /// All settings with defaults filled in, flat; for [`Config::settings`] and [`reload::diff`].
    flat: Secret<settings::Flat>,
}

/// `[listen]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// TCP address; `None` = Unix socket only.
    pub address: Option<SocketAddr>,
    /// Directory of the Unix socket.
    pub unix_socket_dir: Option<PathBuf>,
    /// One of disable, prefer, require, verify-ca.
    pub tls: TlsMode,
    /// PEM file.
    pub tls_cert: Option<PathBuf>,
    /// PEM file.
    pub tls_key: Option<PathBuf>,
    /// PEM file.
    pub tls_client_ca: Option<PathBuf>,
    /// From accept to AuthenticationOk.
    pub login_timeout: Duration,
    /// Clients at the same time.
    pub max_clients: usize,
    /// Zero = never.
    pub client_idle_timeout: Duration,
    /// Zero = off.
    pub tcp_keepalive: Duration,
}

/// `[auth]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Auth {
    /// For clients that no rule names.
    pub method: AuthMethod,
    /// auth_query.
    pub query: Option<String>,
    /// Who may use the console; never empty.
    pub console_users: Vec<String>,
    /// First match wins.
    pub rules: Vec<AuthRule>,
}

/// `[[auth.rule]]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthRule {
    /// `None` = every database.
    pub database: Option<String>,
    /// `None` = every user.
    pub user: Option<String>,
    /// Where the client comes from.
    pub address: AddressMatch,
    /// What it must show.
    pub method: AuthMethod,
}

/// `[pool]`
#[derive(Clone, Debug, PartialEq)]
pub struct Pool {
    /// When does a client keep its server?
    pub mode: PoolMode,
    /// Servers per (database, user).
    pub size: usize,
    /// Kept warm.
    pub min_idle: usize,
    /// Which idle server next?
    pub order: IdleOrder,
    /// Zero = wait for ever.
    pub checkout_timeout: Duration,
    /// For the whole dial, login included.
    pub connect_timeout: Duration,
    /// Zero = never.
    pub idle_timeout: Duration,
    /// Zero = never.
    pub max_lifetime: Duration,
    /// Zero = check at each checkout.
    pub check_delay: Duration,
    /// Zero = never.
    pub query_timeout: Duration,
    /// Zero = never.
    pub idle_in_transaction_timeout: Duration,
    /// Share of `size`, 0 to 1.
    pub max_pinned: f64,
    /// Whether currval and lastval keep working in transaction mode.
    pub currval: Currval,
    /// Distinct sets of startup parameters that get servers of their own.
    pub startup_sets: usize,
}

impl Pool {
    /// How many servers pins may hold in a pool of that size.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a share of 0 to 1 of at most 10000"
    )]
    pub fn pinned_of(&self, size: usize) -> usize {
        // 0.29 * 100 is a little less than 29.
        (self.max_pinned * size as f64 + 1e-6) as usize
    }
}

/// `[plans]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plans {
    /// Which statements share plans?
    pub mode: PlansMode,
    /// Statements kept per server.
    pub per_server: usize,
    /// Set shapes back whose generic plan is slower.
    pub guard: bool,
    /// Send text with comments verbatim.
    pub keep_comments: bool,
}

/// `[cache]`
#[derive(Clone, Debug, PartialEq)]
pub struct Cache {
    /// Whether results are kept.
    pub mode: CacheMode,
    /// Bytes for all entries.
    pub memory: u64,
    /// Bytes of one entry.
    pub max_result: u64,
    /// Share of hits that are also run, 0 to 1.
    pub verify: f64,
    /// For relations without a rule; `None` = not cached.
    pub default_ttl: Option<Ttl>,
    /// Which relations, for how long.
    pub rules: Vec<Rule>,
}

/// `[[cache.rule]]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Which relations; empty if `shape` is set.
    pub tables: Vec<TableName>,
    /// The key `match`: which query shapes.
    pub shape: Option<String>,
    /// Fresh for this long if nothing invalidates.
    pub ttl: Ttl,
    /// After ttl, served while one refresh runs.
    pub stale_while_revalidate: Duration,
    /// After ttl, served while Postgres cannot be reached.
    pub stale_if_error: Duration,
    /// Confirm each hit at the database.
    pub revalidate: bool,
    /// For empty results.
    pub empty_ttl: Option<Ttl>,
    /// For purges.
    pub tags: Vec<String>,
    /// Does invalidation count?
    pub freshness: Freshness,
}

/// `[invalidation]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalidation {
    /// How writes made elsewhere arrive.
    pub feed: Feed,
    /// The channel.
    pub notify: String,
    /// Bound on the feed's delay.
    pub max_lag: Duration,
    /// How often catalog drift is looked for.
    pub catalog_check: Duration,
}

/// `[admin]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// `None` = no endpoint.
    pub address: Option<SocketAddr>,
    /// For calls that change something.
    pub token: Option<Secret<String>>,
}

/// `[log]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// The least important line.
    pub level: LogLevel,
    /// Text or JSON.
    pub format: LogFormat,
    /// Zero = none is slow.
    pub slow_query: Duration,
}

/// `[upstream]`, or one `[[database]]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Database {
    /// What clients ask for.
    pub name: String,
    /// Where it is.
    pub upstream: Upstream,
    /// Servers per user.
    pub pool_size: usize,
    /// Which statements share plans?
    pub plans: PlansMode,
    /// Whether results are kept.
    pub cache: CacheMode,
}

/// `[[user]]`, or the own user of a database's URL
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The role.
    pub name: String,
    /// Plain, `md5...` or a SCRAM-SHA-256 verifier.
    pub password: Option<Secret<String>>,
    /// `None` = every database; a URL's own user belongs to its database (and the console).
    pub database: Option<String>,
    /// Servers per database, instead of the database's `pool_size`.
    pub pool_size: Option<usize>,
    /// Clients at the same time.
    pub max_clients: Option<usize>,
}

impl Config {
    /// From all sources. `env` is the process environment, or whatever a test wants it to be.
    pub fn load(
        file: Option<File<'_>>,
        upstream: Option<&str>,
        env: impl IntoIterator<Item = (String, String)>,
    ) -> crate::error::Result<Self> {
        settings::load(file, upstream, env)
    }

    /// The database that clients call so.
    pub fn database(&self, name: &str) -> Option<&Database> {
        self.databases.iter().find(|database| database.name == name)
    }

    /// The user that may log in to this database under this name. `[[user]]` goes before a URL's own user.
    pub fn user(&self, database: &str, name: &str) -> Option<&User> {
        self.users.iter().find(|user| {
            let here = user.database.as_deref().is_none_or(|own| own == database || database == CONSOLE);
            here && user.name == name
        })
    }

    /// What a client must show; `peer` is `None` on a Unix socket.
    pub fn auth_method(&self, database: &str, user: &str, peer: Option<IpAddr>) -> AuthMethod {
        let matches = |rule: &&AuthRule| {
            rule.database.as_deref().is_none_or(|name| name == database)
                && rule.user.as_deref().is_none_or(|name| name == user)
                && rule.address.contains(peer)
        };
        self.auth.rules.iter().find(matches).map_or(self.auth.method, |rule| rule.method)
    }

    /// Whether this user may use the console.
    pub fn may_use_console(&self, user: &str) -> bool {
        self.auth.console_users.iter().any(|name| name == user)
    }

    /// Settings whose feature is not built yet; [`Config::load`] refuses them, so that none is silently ignored.
    pub fn unsupported(&self) -> Vec<String> {
        unsupported::list(self)
    }

    /// Every setting and its value as the file would have it, defaults filled in, secrets as `***`.
    pub fn settings(&self) -> impl Iterator<Item = (&str, String)> {
        self.flat.expose().iter().map(|(key, value)| (key.as_str(), settings::redacted(key, value)))
    }
}
