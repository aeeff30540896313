//! Floor 4. What a client that arrives needs: who may enter, which database, which pool.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use crate::auth::{Credential, Credentials};
use crate::cache::Rules;
use crate::config::{self, Config, PoolMode, User};
use crate::engine::Shared;
use crate::error::{Error, Kind, Result};
use crate::pool;
use crate::server::{Account, Dialer, Options, Registry, ServerPool, Target};
use crate::wire::diagnostics::SqlState;

use super::buffers::Buffers;
use super::counts::Counts;
use super::relay::Limits;

/// Shared by the listeners and all clients.
pub struct Gate {
    config: ArcSwap<Config>,
    databases: HashMap<String, Arc<Database>>,
    /// How cancel requests find their client.
    pub registry: Registry,
    /// Figures.
    pub counts: Arc<Counts>,
    /// Read buffers.
    pub buffers: Arc<Buffers>,
    clients: AtomicUsize,
    sessions: AtomicUsize,
    closed: AtomicBool,
}

/// One database and its pools.
pub struct Database {
    /// What clients call it.
    pub name: String,
    /// Where it is.
    pub target: Target,
    /// What the engines of its clients share.
    pub shared: Arc<Shared>,
    pools: Mutex<HashMap<String, ServerPool<Dialer>>>,
}

impl Database {
    /// Without any pool yet.
    pub fn new(name: &str, target: Target, shared: Shared) -> Self {
        Self { name: name.to_owned(), target, shared: Arc::new(shared), pools: Mutex::default() }
    }

    /// The pools there are, with their users.
    pub fn pools(&self) -> Vec<(String, ServerPool<Dialer>)> {
        self.pools.lock().iter().map(|(user, pool)| (user.clone(), pool.clone())).collect()
    }
}

impl Gate {
    /// An open gate.
    pub fn new(config: Arc<Config>, databases: Vec<Arc<Database>>, counts: Arc<Counts>) -> Self {
        Self {
            config: ArcSwap::new(config),
            databases: databases.into_iter().map(|database| (database.name.clone(), database)).collect(),
            registry: Registry::default(),
            counts,
            buffers: Arc::default(),
            clients: AtomicUsize::new(0),
            sessions: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
        }
    }

    /// The configuration now.
    pub fn config(&self) -> Arc<Config> {
        self.config.load_full()
    }

    /// A new configuration: pools follow, clients that are here keep what they have.
    pub fn reconfigure(&self, config: &Arc<Config>) {
        self.config.store(Arc::clone(config));
        for database in self.databases.values() {
            if let Some(cache) = &database.shared.cache {
                cache.set_rules(Rules::new(&config.cache));
            }
            for (user, pool) in database.pools() {
                if let (Some(section), Some(user)) = (config.database(&database.name), user_of(config, &database.name, &user)) {
                    pool.connector().credentials().configure(secret(section, &user));
                    pool.reconfigure(options(config, section, &user));
                }
            }
        }
    }

    /// All databases.
    pub fn databases(&self) -> impl Iterator<Item = &Arc<Database>> {
        self.databases.values()
    }

    /// The database of that name, or Postgres's own refusal.
    pub fn database(&self, name: &str) -> Result<&Arc<Database>> {
        self.databases.get(name).ok_or_else(|| {
            Error::new(Kind::Auth, format!("database \"{name}\" does not exist")).with_sqlstate(SqlState(*b"3D000"))
        })
    }

    /// The pool of a user that has logged in. What the login has shown, the pool may show to Postgres.
    pub fn pool_of_login(&self, database: &Database, user: &str, shown: &Credential) -> Result<ServerPool<Dialer>> {
        let pool = self.pool(database, user)?;
        pool.connector().credentials().learn(shown.clone());
        Ok(pool)
    }

    /// The pool of a user in a database, opened when it is first needed. A user that the configuration does not have is one
    /// of `[auth] query`.
    pub fn pool(&self, database: &Database, user: &str) -> Result<ServerPool<Dialer>> {
        if let Some(pool) = database.pools.lock().get(user) {
            return Ok(pool.clone());
        }
        let config = self.config();
        let (Some(section), Some(known)) = (config.database(&database.name), user_of(&config, &database.name, user)) else {
            return Err(Error::new(Kind::Auth, format!("role \"{user}\" may not use this database")));
        };
        let account = account(section, &known);
        let read_settings = database.shared.cache.is_some();
        let stand_in = (!database.shared.session_mode).then(|| database.shared.plans.stand_in_text());
        let dialer = Dialer::new(database.target.clone(), account, config.plans.per_server, read_settings, stand_in);
        let name = format!("{user}@{}", database.name);
        let mut pools = database.pools.lock();
        if pools.len() >= MANY_POOLS {
            // Users come and go where Postgres is asked about them.
            pools.retain(|user, pool| config.user(&database.name, user).is_some() || !pool.is_unused());
        }
        let pool =
            pools.entry(user.to_owned()).or_insert_with(|| ServerPool::new(&name, dialer, options(&config, section, &known)));
        Ok(pool.clone())
    }

    /// What a connection outside the pools needs, and how many of these there may be: as many as the pool's own.
    pub fn account(&self, database: &Database, user: &str) -> Result<(Account, usize)> {
        let config = self.config();
        let (Some(section), Some(known)) = (config.database(&database.name), user_of(&config, &database.name, user)) else {
            return Err(Error::new(Kind::Auth, format!("role \"{user}\" may not use this database")));
        };
        Ok((account(section, &known), known.pool_size.unwrap_or(section.pool_size)))
    }

    /// One more connection; counted until the guard is dropped.
    pub fn enter(self: &Arc<Self>) -> Entry {
        self.clients.fetch_add(1, Relaxed);
        self.counts.clients.connected.up();
        self.counts.clients.total.inc();
        Entry { gate: Arc::clone(self), admitted: false }
    }

    /// No new clients from here on.
    pub fn close(&self) {
        self.closed.store(true, Relaxed);
    }

    /// Whether new clients are turned away.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Relaxed)
    }

    /// Clients inside.
    pub fn clients(&self) -> usize {
        self.clients.load(Relaxed)
    }

    /// The periods that end a client's wait.
    pub fn limits(&self) -> Limits {
        let config = self.config.load();
        Limits {
            query: config.pool.query_timeout,
            idle_in_transaction: config.pool.idle_in_transaction_timeout,
            idle: config.listen.client_idle_timeout,
        }
    }
}

/// One connection, from accept to close.
pub struct Entry {
    gate: Arc<Gate>,
    admitted: bool,
}

impl Entry {
    /// Takes one of the `max_clients` places. Only a client that has logged in needs one: cancel requests, and connections
    /// that never say who they are, must not keep others out.
    pub fn admit(&mut self) -> bool {
        let before = self.gate.sessions.fetch_add(1, Relaxed);
        self.admitted = true;
        before < self.gate.config.load().listen.max_clients
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if self.admitted {
            self.gate.sessions.fetch_sub(1, Relaxed);
        }
        self.gate.clients.fetch_sub(1, Relaxed);
        self.gate.counts.clients.connected.down();
    }
}

/// As the configuration has the user, or as it must be one that Postgres knows.
fn user_of(config: &Config, database: &str, name: &str) -> Option<User> {
    let stranger = || User { name: name.to_owned(), password: None, database: None, pool_size: None, max_clients: None };
    config.user(database, name).cloned().or_else(|| config.auth.query.is_some().then(stranger))
}

/// Whose password is shown to Postgres: the user's own; for the URL's user, the URL's.
fn account(database: &config::Database, user: &User) -> Account {
    let credentials = Arc::new(Credentials::configured(secret(database, user)));
    Account { user: user.name.as_str().into(), credentials, database: database.upstream.database.as_str().into() }
}

fn secret<'a>(database: &'a config::Database, user: &'a User) -> Option<&'a str> {
    let own = user.name == database.upstream.user;
    let password = if own { &database.upstream.password } else { &user.password };
    password.as_ref().map(|password| password.expose().as_str())
}

fn options(config: &Config, database: &config::Database, user: &User) -> Options {
    let pool = &config.pool;
    Options {
        settings: pool::Settings {
            size: user.pool_size.unwrap_or(database.pool_size),
            // Nobody is waiting for servers of a user who is not in the configuration: with hundreds of them they would add up.
            min_idle: if config.user(&database.name, &user.name).is_some() { pool.min_idle } else { 0 },
            order: match pool.order {
                config::IdleOrder::Lifo => pool::IdleOrder::Lifo,
                config::IdleOrder::RoundRobin => pool::IdleOrder::RoundRobin,
            },
            checkout_timeout: pool.checkout_timeout,
            idle_timeout: pool.idle_timeout,
            check_delay: pool.check_delay,
        },
        connect_timeout: pool.connect_timeout,
        max_lifetime: pool.max_lifetime,
    }
}

/// Applies `[pool] mode` to what the engines share.
pub fn set_mode(shared: &mut Shared, mode: PoolMode) {
    shared.session_mode = mode == PoolMode::Session;
    shared.statement_mode = mode == PoolMode::Statement;
}

/// From here on pools that nobody uses are looked for.
const MANY_POOLS: usize = 100;

/// How long a drain waits for clients that are in a transaction.
pub const DRAIN_LIMIT: Duration = Duration::from_secs(30);
