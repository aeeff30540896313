//! Floor 4. Replication connections: a server of their own, outside the pool, and every byte relayed as it is.
//!
//! pgdial reads nothing of what passes. A write that is sent here as SQL is to the cache one that was made elsewhere.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, split};
use tracing::debug;

use crate::error::{Error, Kind, Result};
use crate::metrics::{Counter, Gauge, TrafficCounters};
use crate::net::Stream;
use crate::server::dial::Dialed;
use crate::server::{Slot, Startup};
use crate::wire::frontend;

use super::buffers::CHUNK;
use super::gate::{Entry, Gate};
use super::login::LoggedIn;
use super::session::{admit, greeting, register, tell};

/// From login to close.
pub(super) async fn serve(mut client: LoggedIn, gate: &Arc<Gate>, entry: &mut Entry) {
    let began = Instant::now();
    let (user, database, peer) = (client.user.clone(), client.database.clone(), client.peer);
    let counted = Counted::new(&gate.counts.clients.replication);
    match open(&client, gate, entry).await {
        Ok((dialed, slot, traffic)) => {
            let parameters = dialed.parameters.iter().map(|(name, value)| (&**name, &**value));
            let greeting = greeting(&mut client, &slot, &dialed.notices, parameters);
            let end = relay(client, dialed, greeting, &traffic, &slot).await;
            gate.registry.remove(&slot);
            debug!(%peer, %user, %database, end = end.as_str(), seconds = began.elapsed().as_secs(), "replication ended");
        }
        Err(error) => {
            gate.counts.errors.inc(error.kind());
            debug!(%peer, %user, %database, %error, "replication refused");
            drop(counted);
            tell(client, &error).await;
        }
    }
}

/// The server is asked for what the client asked for, with the words it used.
async fn open(client: &LoggedIn, gate: &Arc<Gate>, entry: &mut Entry) -> Result<(Dialed, Arc<Slot>, Arc<TrafficCounters>)> {
    let database = admit(client, gate, entry)?;
    let (account, most) = gate.account(database, &client.user)?;
    account.credentials.learn((*client.credential).clone());
    if gate.counts.clients.replication.get() > most as u64 {
        let text = format!("too many replication connections: all {most} places are taken");
        return Err(Error::new(Kind::Limit, text).with_hint("There may be as many as the pool has servers, [pool] size."));
    }
    let parameters = wishes(client)?;
    let limit = gate.config().pool.connect_timeout;
    let dialing = account.dial(&database.target, parameters);
    let dialed = if limit.is_zero() { Ok(dialing.await) } else { tokio::time::timeout(limit, dialing).await };
    let late = |_| Error::new(Kind::Connect, "no replication connection to Postgres within connect_timeout");
    let dialed = dialed.map_err(late).and_then(|dialed| dialed).map_err(Error::fatal)?;
    let slot = register(client, gate, None)?;
    slot.lease(&Arc::new(database.target.clone()), dialed.key.as_ref(), dialed.stream.is_tls(), Instant::now());
    Ok((dialed, slot, Arc::clone(&database.traffic)))
}

/// All startup parameters but what names the session; protocol options are pgdial's own affair.
fn wishes(client: &LoggedIn) -> Result<Startup> {
    let wanted = client.startup.parameters().filter(|(name, _)| !matches!(*name, b"user" | b"database"));
    let wanted = wanted.filter(|(name, _)| !name.starts_with(b"_pq_."));
    let text = |bytes| std::str::from_utf8(bytes).map(Into::into);
    let pairs = wanted.map(|(name, value)| Ok((text(name)?, text(value)?)));
    let pairs: std::result::Result<_, std::str::Utf8Error> = pairs.collect();
    pairs.map_err(|_| Error::new(Kind::Protocol, "a startup parameter is not valid UTF-8"))
}

/// Who ended it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The client closed, or broke.
    Client,
    /// Postgres closed, or broke.
    Server,
    /// pgdial stops. A stream of the log has no moment that would be better; its reader comes back.
    Draining,
}

impl End {
    fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Server => "server",
            Self::Draining => "draining",
        }
    }
}

async fn relay(client: LoggedIn, dialed: Dialed, greeting: Vec<u8>, traffic: &TrafficCounters, slot: &Slot) -> End {
    let (mut from_client, mut to_client) = split(client.stream);
    let (mut from_server, mut to_server) = split(dialed.stream);
    let up = async {
        let first = client.leftover;
        pump(first, &mut from_client, &mut to_server, &traffic.client_bytes_in, &traffic.server_bytes_out).await;
    };
    let down = async {
        let first = [greeting, dialed.leftover].concat();
        pump(first, &mut from_server, &mut to_client, &traffic.server_bytes_in, &traffic.client_bytes_out).await;
    };
    let drained = poll_fn(|cx| {
        slot.set_waker(cx.waker());
        if slot.is_draining() { Poll::Ready(()) } else { Poll::Pending }
    });
    // What Postgres said last has been written when its direction ends; a client that has gone reads nothing more.
    let end = tokio::select! {
        biased;
        () = down => End::Server,
        () = up => End::Client,
        () = drained => End::Draining,
    };
    if end == End::Draining {
        let mut goodbye = Vec::new();
        frontend::terminate(&mut goodbye);
        // A server that takes no five bytes now finds out by the closed socket.
        drop(tokio::time::timeout(GOODBYE, to_server.write_all(&goodbye)).await);
    }
    drop(tokio::time::timeout(GOODBYE, to_server.shutdown()).await);
    drop(tokio::time::timeout(GOODBYE, to_client.shutdown()).await);
    end
}

/// Until one of the two breaks or the source has ended. Nothing more is read than has been written.
async fn pump(
    first: Vec<u8>,
    from: &mut ReadHalf<Stream>,
    to: &mut (impl AsyncWrite + Unpin),
    read: &Counter,
    written: &Counter,
) {
    let mut buffer = first;
    loop {
        if to.write_all(&buffer).await.is_err() || to.flush().await.is_err() {
            return;
        }
        written.add(buffer.len() as u64);
        buffer.clear();
        buffer.reserve(CHUNK);
        match from.read_buf(&mut buffer).await {
            Ok(n) if n > 0 => read.add(n as u64),
            Ok(_) | Err(_) => return,
        }
    }
}

/// One up, and down again however its owner ends.
struct Counted<'a>(&'a Gauge);

impl<'a> Counted<'a> {
    fn new(gauge: &'a Gauge) -> Self {
        gauge.up();
        Self(gauge)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.down();
    }
}

const GOODBYE: std::time::Duration = std::time::Duration::from_secs(1);
