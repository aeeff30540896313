//! Floor 4. What a client that arrives needs: who may enter, which database, which pool.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, Ordering::Relaxed};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use crate::admin::console::Operator;
use crate::auth::{Credential, Credentials};
use crate::cache::Rules;
use crate::config::{self, CONSOLE, Config, PoolMode, User};
use crate::engine::Shared;
use crate::error::{Error, Kind, Result};
use crate::metrics::TrafficCounters;
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
    /// What answers on the console. Weak: it holds the gate.
    pub console: OnceLock<Weak<dyn Operator>>,
    clients: AtomicUsize,
    sessions: AtomicUsize,
    consoles: AtomicUsize,
    /// Sessions of those users that have a limit of their own.
    by_user: Mutex<HashMap<Box<str>, usize>>,
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
    /// What passes.
    pub traffic: Arc<TrafficCounters>,
    paused: AtomicBool,
    disabled: AtomicBool,
    pools: Mutex<HashMap<String, ServerPool<Dialer>>>,
}

impl Database {
    /// Without any pool yet.
    pub fn new(name: &str, target: Target, shared: Shared) -> Self {
        Self {
            name: name.to_owned(),
            target,
            shared: Arc::new(shared),
            traffic: Arc::default(),
            paused: AtomicBool::new(false),
            disabled: AtomicBool::new(false),
            pools: Mutex::default(),
        }
    }

    /// No work for servers until [`Database::resume`]: clients wait, whichever pool they need.
    pub fn pause(&self) {
        let pools = self.pools.lock();
        self.paused.store(true, Ordering::Release);
        pools.values().for_each(ServerPool::pause);
    }

    /// Ends a pause.
    pub fn resume(&self) {
        let pools = self.pools.lock();
        self.paused.store(false, Ordering::Release);
        pools.values().for_each(ServerPool::resume);
    }

    /// Whether it is paused.
    pub fn is_paused(&self) -> bool {
        self.paused.load(Ordering::Acquire)
    }

    /// Whether new clients are let in.
    pub fn set_disabled(&self, disabled: bool) {
        self.disabled.store(disabled, Relaxed);
    }

    /// Whether new clients are turned away.
    pub fn is_disabled(&self) -> bool {
        self.disabled.load(Relaxed)
    }

    /// Replaces every server connection, those in use when they come back.
    pub fn reconnect(&self) {
        for (_, pool) in self.pools() {
            pool.connector().cards().mark();
            pool.reconnect();
        }
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
            console: OnceLock::new(),
            clients: AtomicUsize::new(0),
            sessions: AtomicUsize::new(0),
            consoles: AtomicUsize::new(0),
            by_user: Mutex::default(),
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
        let defaults = Arc::clone(&database.shared.defaults);
        let dialer = Dialer::new(database.target.clone(), account, config.plans.per_server, read_settings, stand_in, defaults);
        let name = format!("{user}@{}", database.name);
        let mut pools = database.pools.lock();
        if pools.len() >= MANY_POOLS {
            // Users come and go where Postgres is asked about them.
            pools.retain(|user, pool| config.user(&database.name, user).is_some() || !pool.is_unused());
        }
        let pool =
            pools.entry(user.to_owned()).or_insert_with(|| ServerPool::new(&name, dialer, options(&config, section, &known)));
        if database.is_paused() {
            pool.pause();
        }
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
        Entry { gate: Arc::clone(self), place: None }
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

    /// Clients inside that use the console.
    pub fn consoles(&self) -> usize {
        self.consoles.load(Relaxed)
    }

    fn leave(&self, user: &str) {
        let mut by_user = self.by_user.lock();
        if let Some(count) = by_user.get_mut(user) {
            *count -= 1;
            if *count == 0 {
                by_user.remove(user);
            }
        }
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
    place: Option<Place>,
}

/// What a client that has logged in takes up.
enum Place {
    /// One of `max_clients`, and one of its user's own if that has a limit.
    Session(Option<Box<str>>),
    /// One of the console's own: there must be room when all others are taken.
    Console,
}

impl Entry {
    /// Takes a place. Only a client that has logged in needs one: cancel requests, and connections that never say who they
    /// are, must not keep others out.
    pub fn admit(&mut self, user: &str, database: &str) -> Result<()> {
        if database == CONSOLE {
            self.place = Some(Place::Console);
            let taken = self.gate.consoles.fetch_add(1, Relaxed);
            return if taken < CONSOLE_PLACES { Ok(()) } else { Err(too_many(user, database, CONSOLE_PLACES, CONSOLE_HINT)) };
        }
        let config = self.gate.config.load();
        let limit = config.listen.max_clients;
        self.place = Some(Place::Session(None));
        if self.gate.sessions.fetch_add(1, Relaxed) >= limit {
            return Err(too_many(user, database, limit, "Raise [listen] max_clients, or close idle clients."));
        }
        let Some(own) = config.user(database, user).and_then(|user| user.max_clients) else { return Ok(()) };
        let mut by_user = self.gate.by_user.lock();
        let count = by_user.entry(user.into()).or_default();
        if *count >= own {
            let text =
                format!("too many connections for role \"{user}\": all its {own} places are taken (database \"{database}\")");
            return Err(Error::new(Kind::Limit, text).with_hint("Raise max_clients of this [[user]], or close idle clients."));
        }
        *count += 1;
        self.place = Some(Place::Session(Some(user.into())));
        Ok(())
    }
}

/// Begins as Postgres's own message does.
fn too_many(user: &str, database: &str, limit: usize, hint: &'static str) -> Error {
    let text = format!(
        "sorry, too many clients already: no place for user \"{user}\" in database \"{database}\", all {limit} are taken"
    );
    Error::new(Kind::Limit, text).with_hint(hint)
}

impl Drop for Entry {
    fn drop(&mut self) {
        match self.place.take() {
            Some(Place::Session(user)) => {
                self.gate.sessions.fetch_sub(1, Relaxed);
                if let Some(user) = user {
                    self.gate.leave(&user);
                }
            }
            Some(Place::Console) => drop(self.gate.consoles.fetch_sub(1, Relaxed)),
            None => {}
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
    let size = user.pool_size.unwrap_or(database.pool_size);
    Options {
        settings: pool::Settings {
            size,
            max_pinned: pool.pinned_of(size),
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

/// Applies `[pool] mode` and `currval` to what the engines share.
pub fn set_mode(shared: &mut Shared, pool: &config::Pool) {
    let mode = pool.mode;
    shared.session_mode = mode == PoolMode::Session;
    shared.statement_mode = mode == PoolMode::Statement;
    shared.currval = pool.currval;
}

/// From here on pools that nobody uses are looked for.
const MANY_POOLS: usize = 100;

/// Beside `max_clients`.
const CONSOLE_PLACES: usize = 16;
const CONSOLE_HINT: &str = "Close console sessions that are not used.";

/// How long a drain waits for clients that are in a transaction.
pub const DRAIN_LIMIT: Duration = Duration::from_secs(30);
