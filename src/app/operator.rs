//! Floor 5. What the console shows and does, from the state of the process.

use std::collections::HashMap;
use std::future::{pending, ready};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::time::sleep;

use crate::admin::Source as _;
use crate::admin::console::{
    DatabaseView, MemoryView, Operator, Order, PinView, PoolView, RuleView, Shutdown, SocketView, TrafficView, UserView, Wait,
};
use crate::client::Database;
use crate::config::{CONSOLE, Host, Ttl};
use crate::error::{Error, Kind, Result, SqlState};
use crate::server::{Doing, ServerCard, Slot};

use super::figures::Figures;

impl Operator for Figures {
    fn order(&self, order: &Order) -> Result<Wait> {
        match order {
            Order::Pause(name) => return self.pause(name.as_deref()),
            Order::Resume(name) => self.resume(name.as_deref())?,
            Order::Reconnect(name) => self.chosen(name.as_deref(), "reconnect")?.iter().for_each(|database| database.reconnect()),
            Order::Kill(name) => self.kill(name.as_deref())?,
            Order::KillClient(id) => self.kill_client(*id)?,
            Order::WaitClose(name) => return Ok(Box::pin(until_replaced(self.chosen(name.as_deref(), "wait in")?))),
            Order::Disable(name) => self.chosen(Some(name), "disable")?.iter().for_each(|database| database.set_disabled(true)),
            Order::Enable(name) => self.chosen(Some(name), "enable")?.iter().for_each(|database| database.set_disabled(false)),
            Order::Reload => drop(self.reload_now().map_err(|why| failed(*b"F0000", format!("RELOAD failed: {why}")))?),
            Order::Shutdown(how) => {
                self.ask_shutdown(*how);
                // Answered by the end of the connection, as PgBouncer does.
                if *how == Shutdown::Now {
                    return Ok(Box::pin(pending()));
                }
            }
            Order::Purge(purge) => drop(self.purge(purge.clone()).map_err(|why| failed(*b"42P01", why))?),
        }
        Ok(Box::pin(ready(())))
    }

    fn withdraw(&self, order: &Order) {
        if let Order::Pause(name) = order
            && let Ok(databases) = self.chosen(name.as_deref(), "resume")
        {
            databases.iter().for_each(|database| database.resume());
        }
    }

    fn databases(&self) -> Vec<DatabaseView> {
        let config = self.gate.config();
        let clients = count(self.gate.registry.all().iter().map(|slot| slot.card().database.to_string()));
        let mut views = Vec::new();
        for section in &config.databases {
            let Ok(database) = self.gate.database(&section.name) else { continue };
            let (host, port) = match &section.upstream.host {
                Host::Tcp { host, port } => (host.clone(), *port),
                Host::Unix { dir, port } => (dir.display().to_string(), *port),
            };
            views.push(DatabaseView {
                name: section.name.clone(),
                host: Some(host),
                port,
                database: section.upstream.database.clone(),
                pool_size: section.pool_size,
                min_pool_size: config.pool.min_idle,
                server_lifetime: config.pool.max_lifetime,
                max_clients: 0,
                servers: database.pools().iter().map(|(_, pool)| pool.connector().cards().list().len()).sum(),
                clients: clients.get(&section.name).copied().unwrap_or(0),
                paused: database.is_paused(),
                disabled: database.is_disabled(),
            });
        }
        let clients = clients.get(CONSOLE).copied().unwrap_or(0);
        let port = config.listen.address.map_or(0, |address| address.port());
        let (name, database) = (CONSOLE.to_owned(), CONSOLE.to_owned());
        views.push(DatabaseView { name, database, port, clients, ..DatabaseView::default() });
        views
    }

    fn pools(&self) -> Vec<PoolView> {
        let mode = self.gate.config().pool.mode.as_str();
        let mut views = Vec::new();
        for database in self.sorted() {
            let mut pools = database.pools();
            pools.sort_by(|a, b| a.0.cmp(&b.0));
            for (user, pool) in pools {
                let counts = pool.snapshot().counts;
                views.push(PoolView {
                    database: database.name.clone(),
                    user,
                    clients: pool.connector().clients(),
                    waiting: counts.waiting,
                    active: counts.active,
                    idle: counts.idle,
                    dialing: counts.connecting,
                    max_wait: counts.oldest_wait,
                    mode,
                });
            }
        }
        let (database, user) = (CONSOLE.to_owned(), CONSOLE.to_owned());
        views.push(PoolView { database, user, clients: self.gate.consoles(), mode: "statement", ..PoolView::default() });
        views
    }

    fn users(&self) -> Vec<UserView> {
        let config = self.gate.config();
        let clients = count(self.gate.registry.all().iter().map(|slot| slot.card().user.to_string()));
        let mut servers: HashMap<String, usize> = HashMap::new();
        for database in self.gate.databases() {
            for (user, pool) in database.pools() {
                *servers.entry(user).or_default() += pool.connector().cards().list().len();
            }
        }
        let mut views: Vec<UserView> = Vec::new();
        for user in &config.users {
            if views.iter().any(|view| view.name == user.name) {
                continue;
            }
            views.push(UserView {
                name: user.name.clone(),
                pool_size: user.pool_size,
                max_clients: user.max_clients,
                servers: servers.get(&user.name).copied().unwrap_or(0),
                clients: clients.get(&user.name).copied().unwrap_or(0),
            });
        }
        views
    }

    fn clients(&self) -> Vec<SocketView> {
        let servers: HashMap<i32, i64> = self.cards().iter().map(|(_, _, card)| (card.pid, number(card.id))).collect();
        let mut views: Vec<_> = self.gate.registry.all().iter().map(|slot| client_view(slot, &servers)).collect();
        views.sort_by_key(|view| view.id);
        views
    }

    fn servers(&self) -> Vec<SocketView> {
        self.cards().into_iter().map(|(database, user, card)| server_view(database, user, &card)).collect()
    }

    fn traffic(&self) -> Vec<TrafficView> {
        self.periods.views(&self.sorted())
    }

    fn pins(&self) -> Vec<PinView> {
        let mut views: Vec<_> = self.gate.registry.all().iter().filter_map(|slot| pin_view(slot)).collect();
        views.sort_by_key(|view| std::cmp::Reverse(view.age));
        views
    }

    fn memory(&self) -> Vec<MemoryView> {
        let (entries, bytes) = self.caches.cache.as_ref().map_or((0, 0), |cache| (cache.entries(), cache.bytes()));
        let limit = self.gate.config().cache.memory;
        let size = bytes.checked_div(entries).unwrap_or(0);
        vec![
            MemoryView { name: "result_cache", size, used: entries, free: limit.saturating_sub(bytes), total: bytes },
            MemoryView { name: "process", size: 0, used: 0, free: 0, total: resident().unwrap_or(0) },
        ]
    }

    fn settings(&self) -> Vec<(String, String, String, bool)> {
        crate::config::shown(&self.gate.config())
    }

    fn rules(&self) -> Vec<RuleView> {
        let config = self.gate.config();
        let ttl = |ttl: &Ttl| match ttl {
            Ttl::Forever => "forever".to_owned(),
            Ttl::For(period) => humantime::format_duration(*period).to_string(),
        };
        let rules = config.cache.rules.iter().map(|rule| RuleView {
            tables: rule.tables.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
            ttl: ttl(&rule.ttl),
            freshness: rule.freshness.as_str(),
        });
        let others = config.cache.default_ttl.iter();
        let others = others.map(|default| RuleView { tables: "(all others)".into(), ttl: ttl(default), freshness: "strict" });
        rules.chain(others).collect()
    }
}

impl Figures {
    /// One database by its name, or all.
    fn chosen(&self, name: Option<&str>, verb: &str) -> Result<Vec<Arc<Database>>> {
        match name {
            None => Ok(self.sorted()),
            Some(CONSOLE) => Err(failed(*b"42501", format!("cannot {verb} the console's own database: {CONSOLE}"))),
            Some(name) => {
                let unknown = |_| {
                    let names: Vec<_> = self.sorted().iter().map(|database| database.name.clone()).collect();
                    let error = failed(*b"3D000", format!("no such database: {name}"));
                    error.with_hint(format!("There are {}.", names.join(", ")))
                };
                self.gate.database(name).map(|database| vec![Arc::clone(database)]).map_err(unknown)
            }
        }
    }

    /// The end of a period of averages.
    pub(super) fn turn_period(&self) {
        self.periods.turn(&self.sorted(), Instant::now());
    }

    fn sorted(&self) -> Vec<Arc<Database>> {
        let mut databases: Vec<_> = self.gate.databases().cloned().collect();
        databases.sort_by(|a, b| a.name.cmp(&b.name));
        databases
    }

    fn pause(&self, name: Option<&str>) -> Result<Wait> {
        let databases = self.chosen(name, "pause")?;
        if databases.iter().all(|database| database.is_paused()) {
            return Err(failed(*b"55000", "already suspended/paused").with_hint("RESUME ends the pause."));
        }
        databases.iter().for_each(|database| database.pause());
        Ok(Box::pin(until_quiet(databases)))
    }

    fn resume(&self, name: Option<&str>) -> Result<()> {
        let databases = self.chosen(name, "resume")?;
        if !databases.iter().any(|database| database.is_paused()) {
            let text =
                name.map_or_else(|| "pooler is not paused/suspended".into(), |name| format!("database {name} is not paused"));
            return Err(failed(*b"55000", text));
        }
        databases.iter().for_each(|database| database.resume());
        Ok(())
    }

    fn kill(&self, name: Option<&str>) -> Result<()> {
        let databases = self.chosen(name, "kill")?;
        // New clients wait until RESUME: nothing may come in between the end of the old ones and whatever is to be done.
        databases.iter().for_each(|database| database.pause());
        for slot in self.gate.registry.all() {
            if databases.iter().any(|database| *database.name == *slot.card().database) {
                end(&slot);
            }
        }
        Ok(())
    }

    fn kill_client(&self, id: i32) -> Result<()> {
        let missing =
            || failed(*b"42704", format!("client not found: {id}")).with_hint("SHOW CLIENTS lists them, the column is id.");
        self.gate.registry.get(id).map(|slot| end(&slot)).ok_or_else(missing)
    }

    fn cards(&self) -> Vec<(String, String, Arc<ServerCard>)> {
        let mut cards = Vec::new();
        for database in self.sorted() {
            for (user, pool) in database.pools() {
                let listed = pool.connector().cards().list().into_iter();
                cards.extend(listed.map(|card| (database.name.clone(), user.clone(), card)));
            }
        }
        cards
    }
}

/// What it runs on its server is cancelled as well: nobody would read the result.
fn end(slot: &Arc<Slot>) {
    if slot.doing().server.is_some() {
        tokio::spawn(Arc::clone(slot).cancel_own());
    }
    slot.kill();
}

async fn until_quiet(databases: Vec<Arc<Database>>) {
    for database in databases {
        for (_, pool) in database.pools() {
            // A RESUME from elsewhere ends the wait too.
            while database.is_paused() && tokio::time::timeout(LOOK_AGAIN, pool.quiet()).await.is_err() {}
        }
    }
}

async fn until_replaced(databases: Vec<Arc<Database>>) {
    let marked =
        || databases.iter().any(|database| database.pools().iter().any(|(_, pool)| pool.connector().cards().any_marked()));
    while marked() {
        sleep(LOOK_AGAIN).await;
    }
}

fn client_view(slot: &Slot, servers: &HashMap<i32, i64>) -> SocketView {
    let (card, doing) = (slot.card(), slot.doing());
    let console = &*card.database == CONSOLE;
    let Doing { server, waiting, since, .. } = doing;
    let waiting = waiting && !console;
    SocketView {
        server: false,
        user: card.user.to_string(),
        database: card.database.to_string(),
        state: if waiting {
            "waiting"
        } else if server.is_some() || console {
            "active"
        } else {
            "idle"
        },
        address: match card.peer {
            crate::net::Peer::Tcp(address) => Some(address),
            crate::net::Peer::Unix { .. } => None,
        },
        local: card.local,
        since: card.since,
        requested: since.map_or(card.since, wall),
        waited: since.filter(|_| waiting).map_or(Duration::ZERO, |since| since.elapsed()),
        close_needed: false,
        link: server.and_then(|pid| servers.get(&pid).copied()),
        pid: 0,
        tls: card.tls,
        application: card.application.to_string(),
        statements: 0,
        id: i64::from(slot.key().pid),
    }
}

fn server_view(database: String, user: String, card: &ServerCard) -> SocketView {
    SocketView {
        server: true,
        user,
        database,
        state: if card.client().is_some() { "active" } else { "idle" },
        address: card.peer,
        local: card.local,
        since: card.since,
        requested: card.leased_at(),
        waited: Duration::ZERO,
        close_needed: card.close_needed(),
        link: card.client().map(i64::from),
        pid: card.pid,
        tls: card.tls,
        application: String::new(),
        statements: card.statements(),
        id: number(card.id),
    }
}

fn pin_view(slot: &Slot) -> Option<PinView> {
    let (card, doing) = (slot.card(), slot.doing());
    let since = doing.pinned_since?;
    Some(PinView {
        id: slot.key().pid,
        database: card.database.to_string(),
        user: card.user.to_string(),
        address: card.peer.to_string(),
        application: card.application.to_string(),
        reasons: doing.pins.iter().map(crate::session::Pin::as_str).collect(),
        age: since.elapsed(),
        server: doing.server,
    })
}

fn count(names: impl Iterator<Item = String>) -> HashMap<String, usize> {
    names.fold(HashMap::new(), |mut counts, name| {
        *counts.entry(name).or_default() += 1;
        counts
    })
}

fn wall(at: Instant) -> SystemTime {
    SystemTime::now() - at.elapsed()
}

fn number(id: u64) -> i64 {
    i64::try_from(id).unwrap_or(i64::MAX)
}

fn failed(sqlstate: [u8; 5], message: impl Into<String>) -> Error {
    Error::new(Kind::Unsupported, message.into()).with_sqlstate(SqlState(sqlstate))
}

/// Bytes of this process in memory.
fn resident() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
}

const LOOK_AGAIN: Duration = Duration::from_millis(50);
