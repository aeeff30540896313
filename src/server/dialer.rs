//! Floor 3. Makes the connections of one pool, and remembers what Postgres said at login for clients that come later.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

use parking_lot::Mutex;

use crate::auth::Credentials;
use crate::engine::{Parameters, Reader, Server, StandIn};
use crate::error::{Error, Kind, Result};
use crate::pool::SetId;
use crate::query::parse_search_path;
use crate::session::Defaults;

use super::card::Cards;
use super::conn::ServerConn;
use super::dial::{Dialed, Login, Target, dial};
use super::pool::{Connector, ServerPool};

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

/// What tells one set of servers from another: what they are opened with, and the names of settings that users made up and
/// that they may have heard of. Such a name stays known to a server for good, so no client without it may get there.
type Sort = (Startup, Box<[Box<str>]>);

impl Account {
    /// A connection outside any pool.
    pub async fn dial(&self, target: &Target, parameters: Startup) -> Result<Dialed> {
        dial(target, &Login::new(&self.user, Arc::clone(&self.credentials), &self.database, parameters)).await
    }
}

#[derive(Default)]
struct Sets {
    by_sort: HashMap<Sort, SetId, foldhash::fast::RandomState>,
    by_id: HashMap<SetId, Arc<Set>, foldhash::fast::RandomState>,
    last: u32,
}

/// One set of startup parameters, and what servers with it report.
pub struct Set {
    /// Which one.
    pub id: SetId,
    /// Settings that users made up and that its servers may know, sorted.
    pub names: Box<[Box<str>]>,
    startup: Startup,
    login: Login,
    known: Mutex<Option<Known>>,
}

/// What a login brought to light.
#[derive(Clone)]
pub struct Known {
    /// ParameterStatus.
    pub parameters: Arc<Parameters>,
    /// How statements are read.
    pub reader: Arc<Reader>,
    /// The values of all settings that a session may change.
    pub defaults: Arc<Defaults>,
}

impl Set {
    /// What is known, once a server has been dialled.
    pub fn known(&self) -> Option<Known> {
        self.known.lock().clone()
    }
}

impl Dialer {
    /// For one user of one database.
    pub fn new(target: Target, account: Account, plans_per_server: usize, read_settings: bool, stand_in: Option<String>) -> Self {
        let dialer = Self {
            target,
            account,
            plans_per_server,
            read_settings,
            stand_in,
            clients: AtomicUsize::new(0),
            cards: Arc::default(),
            sets: Mutex::default(),
        };
        // Servers kept warm before anybody has come are for clients that send nothing of their own.
        dialer.sets.lock().add(SetId::default(), (Startup::new(), Box::default()), &dialer.account, None);
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

    /// The set with these startup parameters. It is forgotten some time after its last client has gone.
    pub fn set(&self, startup: Startup) -> Result<Arc<Set>> {
        self.set_of((startup, Box::default()), None)
    }

    /// The set like `set` whose servers may know these settings that users made up. Names are sorted.
    pub fn with_names(&self, set: &Set, names: Box<[Box<str>]>) -> Result<Arc<Set>> {
        self.set_of((set.startup.clone(), names), set.known())
    }

    fn set_of(&self, sort: Sort, known: Option<Known>) -> Result<Arc<Set>> {
        let mut sets = self.sets.lock();
        if let Some(set) = sets.by_sort.get(&sort).and_then(|id| sets.by_id.get(id)) {
            return Ok(Arc::clone(set));
        }
        sets.sweep();
        if sets.by_id.len() >= MAX_SETS {
            return Err(Error::new(Kind::Limit, "too many different sets of startup parameters are in use")
                .with_hint("Let clients share application_name and options."));
        }
        sets.last += 1;
        let id = SetId(sets.last);
        Ok(sets.add(id, sort, &self.account, known))
    }

    fn by_id(&self, id: SetId) -> Option<Arc<Set>> {
        self.sets.lock().by_id.get(&id).cloned()
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

impl Connector for Dialer {
    type Conn = Box<ServerConn>;

    async fn connect(&self, id: SetId) -> Result<Self::Conn> {
        let Some(set) = self.by_id(id) else {
            return Err(Error::new(Kind::Internal, "the client that needed this connection has gone"));
        };
        let mut dialed = dial(&self.target, &set.login).await?;
        let reader = self.reader(&mut dialed, &set).await?;
        let defaults = self.defaults(&mut dialed, &set).await?;
        if let Some(text) = &self.stand_in {
            dialed.query(text).await?;
        }
        let parameters: Parameters = dialed.parameters.iter().cloned().collect();
        *set.known.lock() = Some(Known {
            parameters: Arc::new(parameters.clone()),
            reader: Arc::clone(&reader),
            defaults: Arc::clone(&defaults),
        });
        let pid = dialed.key.as_ref().map_or(0, |key| key.pid);
        let card = self.cards.add(&dialed.stream, pid, Instant::now());
        let mut state = Server::new(dialed.key, parameters, reader, self.plans_per_server);
        state.defaults = defaults;
        state.stand_in = if self.stand_in.is_some() { StandIn::Ready } else { StandIn::None };
        Ok(Box::new(ServerConn { stream: dialed.stream, state: Some(Box::new(state)), card }))
    }
}

impl Sets {
    fn add(&mut self, id: SetId, sort: Sort, account: &Account, known: Option<Known>) -> Arc<Set> {
        let (startup, names) = sort.clone();
        let login = Login::new(&account.user, Arc::clone(&account.credentials), &account.database, startup.clone());
        let set = Arc::new(Set { id, names, startup, login, known: Mutex::new(known) });
        self.by_sort.insert(sort, id);
        self.by_id.insert(id, Arc::clone(&set));
        set
    }

    /// Sets that no client uses. Their idle servers end by their own limits.
    fn sweep(&mut self) {
        if self.by_id.len() < MAX_SETS / 2 {
            return;
        }
        self.by_id.retain(|id, set| *id == SetId::default() || Arc::strong_count(set) > 1);
        let by_id = &self.by_id;
        self.by_sort.retain(|_, id| by_id.contains_key(id));
    }
}

/// Everything that a session can have set, and a role may have been given. application_name changes no result.
const SETTINGS: &str = "SELECT current_user::text, pg_catalog.current_setting('search_path'), \
    pg_catalog.current_setting('default_transaction_isolation'), \
    (SELECT pg_catalog.string_agg(name || '=' || setting, E'\\n' ORDER BY name) FROM pg_catalog.pg_settings \
     WHERE context IN ('user', 'superuser') AND name <> 'application_name')";

/// In the words in which a session is asked later. The last two are in no list.
const DEFAULTS: &str = "SELECT name, pg_catalog.current_setting(name) FROM pg_catalog.pg_settings \
    WHERE context IN ('user', 'superuser', 'backend', 'superuser-backend') \
    UNION ALL SELECT 'role', pg_catalog.current_setting('role') \
    UNION ALL SELECT 'session_authorization', pg_catalog.current_setting('session_authorization')";

const MAX_SETS: usize = 4096;
