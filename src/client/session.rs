//! Floor 4. One client from accept to close.

use std::sync::{Arc, Weak};
use std::time::{Instant, SystemTime};

use tracing::debug;

use crate::admin::console::Operator;
use crate::config::{CONSOLE, PoolMode};
use crate::engine::{Engine, Parameters};
use crate::error::{Error, Kind, Result};
use crate::metrics::{Rejected, TrafficCounters};
use crate::net::{Peer, Stream, random};
use crate::server::{ClientCard, Dialer, Guest, Lease, ServerPool, Set, Slot, Startup};
use crate::wire::backend::{self, BackendKeyData, ParameterStatus};
use crate::wire::diagnostics::SqlState;
use crate::wire::startup::Replication;

use super::begin::{Begun, begin};
use super::console;
use super::gate::{Database, Entry, Gate};
use super::login::{LoggedIn, LoginContext, Outcome, login};
use super::meter::Meter;
use super::relay::{Parts, Relay};
use super::replication;

/// Serves the client until it goes. The place it takes is given back at the end.
pub(super) async fn serve(stream: Stream, peer: Peer, context: Arc<LoginContext>, gate: Arc<Gate>, mut entry: Entry) {
    let limit = gate.config().listen.login_timeout;
    // Boxed: a login's buffers and TLS handshake must not be part of what an idle client costs.
    let attempt = Box::pin(login(stream, peer, &context));
    let outcome = if limit.is_zero() { Ok(attempt.await) } else { tokio::time::timeout(limit, attempt).await };
    match outcome {
        Ok(Ok(Outcome::Session(client))) => run(client, &gate, &mut entry).await,
        Ok(Ok(Outcome::Cancel(key, stream))) => {
            gate.counts.clients.cancels.inc();
            gate.registry.cancel(&key).await;
            drop(stream);
        }
        Ok(Ok(Outcome::Closed)) => {}
        Ok(Err(error)) => {
            if error.kind() == Kind::Auth {
                gate.counts.clients.logins_failed.inc();
            }
            if error.kind() == Kind::ClientGone {
                debug!(%peer, %error, "login failed");
            } else {
                context.guard.log_refusal(peer, &error);
            }
        }
        Err(_) => {
            gate.counts.clients.rejected.inc(Rejected::LoginTimeout);
            debug!(%peer, "no login within login_timeout");
        }
    }
}

async fn run(mut client: LoggedIn, gate: &Arc<Gate>, entry: &mut Entry) {
    if *client.database == *CONSOLE {
        return Box::pin(console(client, gate, entry)).await;
    }
    if client.startup.replication() != Some(Replication::No) {
        return Box::pin(replication::serve(client, gate, entry)).await;
    }
    let began = Instant::now();
    let (user, database, peer) = (client.user.clone(), client.database.clone(), client.peer);
    match Box::pin(open(&mut client, gate, entry)).await {
        Ok(opened) => {
            let slot = Arc::clone(&opened.slot);
            let relay = opened.into_relay(client);
            let (end, queries) = relay.run().await;
            gate.registry.remove(&slot);
            debug!(%peer, %user, %database, end = end.as_str(), queries, seconds = began.elapsed().as_secs(), "session ended");
        }
        Err(error) => {
            gate.counts.errors.inc(error.kind());
            debug!(%peer, %user, %database, %error, "session refused");
            tell(client, &error).await;
        }
    }
}

async fn console(client: LoggedIn, gate: &Arc<Gate>, entry: &mut Entry) {
    let (user, peer) = (client.user.clone(), client.peer);
    let error = match admit_operator(&client, gate, entry) {
        Ok(operator) => match console::serve(client, gate, operator).await {
            Ok(()) => return,
            Err(error) => error,
        },
        Err(error) => {
            tell(client, &error).await;
            error
        }
    };
    debug!(%peer, %user, %error, "console session refused or broken");
}

fn admit_operator(client: &LoggedIn, gate: &Gate, entry: &mut Entry) -> Result<Arc<dyn Operator>> {
    if !gate.config().may_use_console(&client.user) {
        let text = format!("user \"{}\" may not use the console", client.user);
        let error = Error::new(Kind::Auth, text).with_sqlstate(SqlState(*b"42501"));
        return Err(error.with_hint("[auth] console_users names who may."));
    }
    entry.admit(&client.user, CONSOLE)?;
    let closed = || Error::new(Kind::Draining, "pgdial is shutting down").with_sqlstate(SqlState(*b"57P03"));
    gate.console.get().and_then(Weak::upgrade).filter(|_| !gate.is_closed()).ok_or_else(closed)
}

pub(super) async fn tell(mut client: LoggedIn, error: &Error) {
    use tokio::io::AsyncWriteExt;
    let mut out = client.pending;
    error.encode(&mut out);
    // Whether it arrives is the client's affair.
    let _ = client.stream.write_all(&out).await;
    let _ = client.stream.shutdown().await;
}

/// What a session has once its first server has answered.
struct Opened {
    engine: Engine,
    pool: ServerPool<Dialer>,
    traffic: Arc<TrafficCounters>,
    set: Arc<Set>,
    lease: Option<Lease<Dialer>>,
    gate: Arc<Gate>,
    slot: Arc<Slot>,
    guest: Guest,
}

/// Whether there is a place for the client, in its database.
pub(super) fn admit<'a>(client: &LoggedIn, gate: &'a Gate, entry: &mut Entry) -> Result<&'a Arc<Database>> {
    entry.admit(&client.user, &client.database).inspect_err(|_| gate.counts.clients.rejected.inc(Rejected::TooManyClients))?;
    if gate.is_closed() {
        gate.counts.clients.rejected.inc(Rejected::Draining);
        return Err(Error::new(Kind::Draining, "pgdial is shutting down").with_sqlstate(SqlState(*b"57P03")));
    }
    let database = gate.database(&client.database)?;
    if database.is_disabled() {
        let text = format!("database \"{}\" is not currently accepting connections", database.name);
        let error = Error::new(Kind::Limit, text).with_sqlstate(SqlState(*b"55000"));
        return Err(error.with_hint("It was disabled on the pgdial console; ENABLE lets clients in again."));
    }
    Ok(database)
}

async fn open(client: &mut LoggedIn, gate: &Arc<Gate>, entry: &mut Entry) -> Result<Opened> {
    let database = admit(client, gate, entry)?;
    let pool = gate.pool_of_login(database, &client.user, &client.credential)?;
    let (startup, own) = startup_parameters(client)?;
    let config = gate.config();
    let session_mode = config.pool.mode == PoolMode::Session;
    // Without sharing there is nothing that clients could not share.
    let places = if session_mode { usize::MAX } else { config.pool.startup_sets };
    let begun = begin(&pool, startup, own, places, session_mode).await.map_err(Error::fatal)?;
    let Begun { set, known, parameters, notices, settings, lease } = begun;
    let mut engine = Engine::new(Arc::clone(&database.shared), known.reader, Arc::clone(&parameters), Instant::now());
    engine.start_with(database.shared.settings.intern(settings));
    let guest = Dialer::enter(&pool);
    // In session mode the client is called what its server is called: Postgres knows it by that.
    let pid = lease.as_ref().and_then(|lease| lease.state.as_ref()?.key.as_ref()).map(|key| key.pid);
    greet(client, gate, engine, (&notices, &parameters), pid).map(|(engine, slot)| Opened {
        engine,
        guest,
        pool,
        traffic: Arc::clone(&database.traffic),
        set,
        lease,
        gate: Arc::clone(gate),
        slot,
    })
}

/// A key to cancel with, and a card for the console. `own`: the process id of the server that it has for good.
pub(super) fn register(client: &LoggedIn, gate: &Gate, own: Option<i32>) -> Result<Arc<Slot>> {
    // Protocol 3.0 has room for four bytes.
    let secret: [u8; 32] = random()?;
    let length = if client.version.minor >= 2 { 32 } else { 4 };
    let application = client.startup.get("application_name").unwrap_or_default();
    let application: String = String::from_utf8_lossy(application).chars().take(MAX_APPLICATION).collect();
    let card = ClientCard {
        user: client.user.clone(),
        database: client.database.clone(),
        application: application.into(),
        peer: client.peer,
        local: client.stream.local_address(),
        tls: client.stream.is_tls(),
        since: SystemTime::now(),
    };
    Ok(gate.registry.register(secret.get(..length).unwrap_or_default(), card, own))
}

/// NAMEDATALEN - 1: Postgres cuts a longer name there.
const MAX_APPLICATION: usize = 63;

fn greet(
    client: &mut LoggedIn,
    gate: &Gate,
    mut engine: Engine,
    (notices, parameters): (&[u8], &Parameters),
    own: Option<i32>,
) -> Result<(Engine, Arc<Slot>)> {
    let slot = register(client, gate, own)?;
    engine.identify(slot.key().pid);
    engine.client_out = greeting(client, &slot, notices, parameters.iter());
    Ok((engine, slot))
}

/// Behind AuthenticationOk: NoticeResponse, ParameterStatus, BackendKeyData, ReadyForQuery.
pub(super) fn greeting<'a>(
    client: &mut LoggedIn,
    slot: &Slot,
    notices: &[u8],
    parameters: impl Iterator<Item = (&'a str, &'a str)>,
) -> Vec<u8> {
    let mut out = std::mem::take(&mut client.pending);
    out.extend_from_slice(notices);
    for (name, value) in parameters {
        ParameterStatus { name: name.as_bytes(), value: value.as_bytes() }.encode(&mut out);
    }
    let key = slot.key();
    BackendKeyData { pid: key.pid, secret: &key.secret }.encode(&mut out);
    backend::ready_for_query(crate::pg::TransactionStatus::Idle, &mut out);
    out
}

impl Opened {
    fn into_relay(self, client: LoggedIn) -> Relay {
        let counts = Arc::clone(&self.gate.counts);
        let slow = self.gate.config().log.slow_query;
        let meter = Meter::new(counts, self.traffic, Arc::clone(&self.slot), slow, Instant::now());
        let mut relay = Relay::new(Parts {
            engine: self.engine,
            stream: client.stream,
            pool: self.pool,
            set: self.set,
            slot: self.slot,
            buffers: Arc::clone(&self.gate.buffers),
            meter,
            limits: self.gate.limits(),
            inbox: client.leftover,
            guest: self.guest,
        });
        if let Some(lease) = self.lease {
            relay.adopt(lease);
        }
        relay
    }
}

/// All but what names the session itself: first what its servers are opened with, then what they are given with each lease.
/// application_name is often another for each process, and servers could not be shared if they were opened with it.
fn startup_parameters(client: &LoggedIn) -> Result<(Startup, Startup)> {
    let (mut startup, mut own) = (Startup::new(), Startup::new());
    for (name, value) in client.startup.parameters() {
        let (Ok(name), Ok(value)) = (std::str::from_utf8(name), std::str::from_utf8(value)) else {
            return Err(Error::new(Kind::Protocol, "a startup parameter is not valid UTF-8"));
        };
        if !matches!(name, "user" | "database" | "replication") && !name.starts_with("_pq_.") {
            // Of other characters Postgres makes what its version likes, and a longer name it cuts off.
            let printable = value.bytes().all(|byte| (b' '..=b'~').contains(&byte));
            let shared = name == "application_name" && printable && value.len() <= MAX_APPLICATION;
            let to = if shared { &mut own } else { &mut startup };
            to.push((name.into(), value.into()));
        }
    }
    Ok((startup, own))
}
