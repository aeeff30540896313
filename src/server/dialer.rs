//! Floor 3. Makes the connections of one pool, and remembers what Postgres said at login for clients that come later.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::AcqRel, Ordering::Acquire, Ordering::Relaxed};
use std::time::Instant;

use parking_lot::Mutex;

use crate::auth::Credentials;
use crate::engine::{Parameters, Reader, Server, StandIn};
use crate::error::{Error, Kind, Result};
use crate::pool::SetId;
use crate::query::parse_search_path;
use crate::session::{Defaults, push_literal};

use super::card::Cards;
use super::conn::ServerConn;
use super::dial::{Dialed, Login, Target, dial};
use super::pool::{Connector, ServerPool};

mod sets;

pub use self::sets::{Seat, Set};
use self::sets::{Sets, Sort};

/// Startup parameters of a client, in the order it sent them; `user`, `database` and protocol options left out.
pub type Startup = Vec<(Box<str>, Box<str>)>;

/// Everything needed to log in as one user to one database.
pub struct Dialer {
    target: Target,
    account: Account,
    plans_per_server: usize,
    /// Settings are only read where a key needs them.
    read_settings: bool,
    /// What every server has to have prepared, in the modes in which a client's statements are on more than one.
    stand_in: Option<String>,
    /// Counts changes of what sessions begin with.
    generation: Arc<AtomicU64>,
    clients: AtomicUsize,
    cards: Arc<Cards>,
    sets: Mutex<Sets>,
}

/// A client of a pool.
pub struct Guest(ServerPool<Dialer>);

impl Drop for Guest {
    fn drop(&mut self) {
        self.0.connector().clients.fetch_sub(1, Relaxed);
    }
}

/// As whom a pool logs in, and where.
#[derive(Clone)]
pub struct Account {
    /// The role.
    pub user: Box<str>,
    /// What it shows there.
    pub credentials: Arc<Credentials>,
    /// The database on the server.
    pub database: Box<str>,
}

impl Account {
    /// A connection outside any pool.
    pub async fn dial(&self, target: &Target, parameters: Startup) -> Result<Dialed> {
        dial(target, &Login::new(&self.user, Arc::clone(&self.credentials), &self.database, parameters)).await
    }
}

/// What a login brought to light.
#[derive(Clone)]
pub struct Known {
    /// ParameterStatus.
    pub parameters: Arc<Parameters>,
    /// What Postgres says at login besides: NoticeResponse messages.
    pub notices: Arc<[u8]>,
    /// How statements are read.
    pub reader: Arc<Reader>,
    /// The values of all settings that a session may change.
    pub defaults: Arc<Defaults>,
    /// What the startup parameters have set, in Postgres's words.
    pub given: Arc<[(Box<str>, Box<str>)]>,
}

impl Dialer {
    /// For one user of one database. `generation`: counts changes of what sessions begin with.
    pub fn new(
        target: Target,
        account: Account,
        plans_per_server: usize,
        read_settings: bool,
        stand_in: Option<String>,
        generation: Arc<AtomicU64>,
    ) -> Self {
        let dialer = Self {
            target,
            account,
            plans_per_server,
            read_settings,
            stand_in,
            generation,
            clients: AtomicUsize::new(0),
            cards: Arc::default(),
            sets: Mutex::default(),
        };
        // Servers kept warm before anybody has come are for clients that send nothing of their own.
        let sort = Sort { born: dialer.generation(), ..Sort::default() };
        dialer.sets.lock().add(SetId::default(), sort, None, &dialer.account);
        dialer
    }

    /// One more client of this pool, until the guard is dropped.
    pub fn enter(pool: &ServerPool<Self>) -> Guest {
        pool.connector().clients.fetch_add(1, Relaxed);
        Guest(pool.clone())
    }

    /// Clients that are logged in.
    pub fn clients(&self) -> usize {
        self.clients.load(Relaxed)
    }

    /// What its logins show to Postgres.
    pub fn credentials(&self) -> &Credentials {
        &self.account.credentials
    }

    /// The cards of the connections that there are.
    pub fn cards(&self) -> &Cards {
        &self.cards
    }

    /// Where it dials.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Which servers a client with these startup parameters gets: some of its own, if fewer than `places` others have.
    pub fn seat(&self, startup: Startup, places: usize) -> Result<Seat> {
        self.sets.lock().seat(startup, self.generation(), places, &self.account)
    }

    /// The set like `set` whose servers may know these settings that users made up. Names are sorted.
    pub fn with_names(&self, set: &Set, names: Box<[Box<str>]>) -> Result<Arc<Set>> {
        self.sets.lock().derived(set, names, &self.account)
    }

    /// Changes of the defaults so far.
    fn generation(&self) -> u64 {
        self.generation.load(Acquire)
    }

    fn by_id(&self, id: SetId) -> Option<Arc<Set>> {
        self.sets.lock().by_id(id).cloned()
    }

    /// Reads what Postgres does not report: under which settings this session reads.
    async fn reader(&self, dialed: &mut Dialed, set: &Set) -> Result<Arc<Reader>> {
        if !self.read_settings {
            return Ok(Arc::new(Reader {
                set: set.id.0,
                role: self.account.user.clone(),
                search_path: Vec::new(),
                settings: Box::default(),
                read_committed: false,
            }));
        }
        let rows = dialed.query(SETTINGS).await?;
        let [role, search_path, isolation, settings] =
            rows.into_iter().next().and_then(|row| row.try_into().ok()).unwrap_or_default();
        let search_path = parse_search_path(&search_path.unwrap_or_default());
        let known = search_path.is_some();
        let settings = settings.unwrap_or_default().into_bytes().into_boxed_slice();
        let role: Box<str> = role.unwrap_or_default().into();
        if let Some(known) = set.known().filter(|known| known.reader.settings == settings && known.reader.role == role) {
            return Ok(known.reader);
        }
        Ok(Arc::new(Reader {
            set: set.id.0,
            role,
            search_path: search_path.unwrap_or_default(),
            settings,
            read_committed: known && isolation.as_deref() == Some("read committed"),
        }))
    }
}

impl Dialer {
    /// With what its sessions begin: what a client has set is told from what it has not.
    async fn defaults(&self, dialed: &mut Dialed, set: &Set) -> Result<Arc<Defaults>> {
        let rows = dialed.query(DEFAULTS).await?;
        let pairs = rows.into_iter().filter_map(|row| match <[Option<String>; 2]>::try_from(row) {
            Ok([Some(name), Some(value)]) => Some((name, value)),
            Ok(_) | Err(_) => None,
        });
        let defaults: Defaults = pairs.collect();
        Ok(match set.known() {
            Some(known) if *known.defaults == defaults => known.defaults,
            Some(_) | None => Arc::new(defaults),
        })
    }
}

impl Dialer {
    /// The settings that the startup parameters have set: another server can be given them with SET.
    async fn given(&self, dialed: &mut Dialed, set: &Set) -> Result<Arc<[(Box<str>, Box<str>)]>> {
        let Some(names) = set.asked.as_ref().filter(|names| !names.is_empty()) else { return Ok(Arc::default()) };
        let mut text = String::new();
        for name in names {
            text.push_str(if text.is_empty() { "SELECT " } else { ", " });
            text.push_str("pg_catalog.current_setting(");
            push_literal(name, &mut text);
            text.push_str(", true)");
        }
        let values = dialed.query(&text).await?.into_iter().next().unwrap_or_default();
        let pairs = names.iter().zip(values).filter_map(|(name, value)| Some((name.clone(), value?.into())));
        Ok(pairs.collect())
    }
}

impl Connector for Dialer {
    type Conn = Box<ServerConn>;

    async fn connect(&self, id: SetId) -> Result<Self::Conn> {
        let Some(set) = self.by_id(id) else {
            return Err(Error::new(Kind::Internal, "the client that needed this connection has gone"));
        };
        let mut dialed = dial(&self.target, &set.login).await?;
        let reader = self.reader(&mut dialed, &set).await?;
        let defaults = self.defaults(&mut dialed, &set).await?;
        let given = self.given(&mut dialed, &set).await?;
        if let Some(text) = &self.stand_in {
            dialed.query(text).await?;
        }
        let parameters = Arc::new(dialed.parameters.iter().cloned().collect::<Parameters>());
        let notices = dialed.notices.as_slice().into();
        let Known { parameters, reader, defaults, .. } = set.learn(Known { parameters, notices, reader, defaults, given });
        // Behind the dial: what has changed meanwhile it may have or not, and older ones have not.
        let opened = self.generation();
        set.newest.fetch_max(opened, AcqRel);
        let pid = dialed.key.as_ref().map_or(0, |key| key.pid);
        let card = self.cards.add(&dialed.stream, pid, Instant::now());
        let mut state = Server::new(dialed.key, parameters, reader, self.plans_per_server);
        state.defaults = defaults;
        state.stand_in = if self.stand_in.is_some() { StandIn::Ready } else { StandIn::None };
        let newest = Arc::clone(&set.newest);
        Ok(Box::new(ServerConn { stream: dialed.stream, state: Some(Box::new(state)), card, opened, newest }))
    }

    fn is_current(&self, id: SetId) -> bool {
        self.sets.lock().by_id(id).is_some_and(|set| set.born == self.generation())
    }
}

// Neither looks a name up along search_path: a schema of it that is dropped at that moment would fail the login.
/// Everything that a session can have set, and a role may have been given. application_name changes no result.
const SETTINGS: &str = "SELECT current_user::pg_catalog.text, pg_catalog.current_setting('search_path'), \
    pg_catalog.current_setting('default_transaction_isolation'), \
    (SELECT pg_catalog.string_agg(name OPERATOR(pg_catalog.||) '=' OPERATOR(pg_catalog.||) setting, E'\\n' ORDER BY name) \
     FROM pg_catalog.pg_settings WHERE context OPERATOR(pg_catalog.=) ANY ('{user,superuser}') \
     AND name OPERATOR(pg_catalog.<>) 'application_name')";

/// In the words in which a session is asked later. The last two are in no list.
const DEFAULTS: &str = "SELECT name, pg_catalog.current_setting(name) FROM pg_catalog.pg_settings \
    WHERE context OPERATOR(pg_catalog.=) ANY ('{user,superuser,backend,superuser-backend}') \
    UNION ALL SELECT 'role', pg_catalog.current_setting('role') \
    UNION ALL SELECT 'session_authorization', pg_catalog.current_setting('session_authorization')";
