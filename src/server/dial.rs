//! Floor 3. From an address to a server that has said ReadyForQuery: connect, TLS as `sslmode` says, log in.
//!
//! Everything a server sends before that is bounded, in bytes and in messages. The time is bounded by the caller.

mod login;
mod proof;
mod query;

#[cfg(test)]
mod tests;

use crate::auth::Credentials;
use crate::config::{ChannelBinding, Host, TlsMode, Upstream};
use crate::error::{Error, Kind, SqlState};
use crate::net::tls::Connector;
use crate::net::{Fault, Stream, TcpOptions};
use crate::pg::BackendKey;
use crate::wire::startup;
use std::fmt;
use std::io;
use std::sync::Arc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};

/// Where to, and over what.
#[derive(Clone, Debug)]
pub struct Target {
    /// Address or socket directory.
    pub host: Host,
    /// What `sslmode` asks.
    pub tls: Connector,
    /// Keepalive.
    pub tcp: TcpOptions,
    /// Whether logins are tied to the TLS connection.
    pub channel_binding: ChannelBinding,
}

impl Target {
    /// Reads the authorities' file, if there is one.
    pub fn new(upstream: &Upstream, tcp: TcpOptions) -> Result<Self, Error> {
        let tls = Connector::new(upstream.tls, upstream.tls_ca.as_deref())?;
        Ok(Self { host: upstream.host.clone(), tls, tcp, channel_binding: upstream.channel_binding })
    }
}

/// As whom, and with which startup parameters.
pub struct Login {
    /// The role.
    pub user: Box<str>,
    /// What is shown. Shared by all logins of a user: the keys that SCRAM derives are derived once.
    pub credentials: Arc<Credentials>,
    /// The database.
    pub database: Box<str>,
    /// Further startup parameters, in order.
    pub parameters: Vec<(Box<str>, Box<str>)>,
}

impl Login {
    /// `parameters` without user and database.
    pub fn new(user: &str, credentials: Arc<Credentials>, database: &str, parameters: Vec<(Box<str>, Box<str>)>) -> Self {
        Self { user: user.into(), credentials, database: database.into(), parameters }
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Login({}@{})", self.user, self.database)
    }
}

/// A server that waits for its first query.
#[derive(Debug)]
pub struct Dialed {
    /// The connection.
    pub stream: Stream,
    /// None from servers that cannot cancel (some proxies).
    pub key: Option<BackendKey>,
    /// Every ParameterStatus in the order of its first arrival, with its last value.
    pub parameters: Vec<(Box<str>, Box<str>)>,
    /// What it had to say besides: NoticeResponse messages, ready for a client.
    pub notices: Vec<u8>,
    /// What arrived behind ReadyForQuery; usually nothing.
    pub leftover: Vec<u8>,
}

/// Connects and logs in. A refusal by Postgres keeps its SQLSTATE and its words.
pub async fn dial(target: &Target, login: &Login) -> Result<Dialed, Error> {
    let (first, second) = attempts(target);
    match attempt(target, login, first).await {
        Err(failure) if failure.another_way => match second {
            Some(tls) => attempt(target, login, tls).await.map_err(|failure| failure.error),
            None => Err(failure.error),
        },
        outcome => outcome.map_err(|failure| failure.error),
    }
}

/// Asks the server to cancel what the connection of this key is doing, and returns when it has seen to it: Postgres answers
/// by closing. `encrypted` as the connection itself is: those from whom the session is hidden must not see its key.
pub async fn cancel(target: &Target, key: &BackendKey, encrypted: bool) -> Result<(), Error> {
    let stream = connect(target).await.map_err(|error| unreachable(target, error))?;
    let mut stream = match stream {
        Stream::Tcp(stream) if encrypted => encrypt(target, stream).await.map_err(|failure| failure.error)?,
        stream @ (Stream::Tcp(_) | Stream::Unix(_) | Stream::ServerTls(_) | Stream::ClientTls(_)) => stream,
    };
    if encrypted && !stream.is_tls() {
        return Err(failed(&target.host, "it takes no TLS for a cancel request, though it did for the session"));
    }
    let mut request = Vec::new();
    startup::cancel(key, &mut request);
    let lost = |error: io::Error| unreachable(target, error);
    stream.write_all(&request).await.map_err(lost)?;
    stream.flush().await.map_err(lost)?;
    let mut nothing = [0; 16];
    while matches!(stream.read(&mut nothing).await, Ok(n) if n > 0) {}
    Ok(())
}

/// With TLS? The first way, and the one after it where libpq has one. Never TLS over a Unix socket.
fn attempts(target: &Target) -> (bool, Option<bool>) {
    match (&target.host, target.tls.mode()) {
        (Host::Unix { .. }, _) | (_, TlsMode::Disable) => (false, None),
        (_, TlsMode::Allow) => (false, Some(true)),
        (_, TlsMode::Prefer) => (true, Some(false)),
        (_, TlsMode::Require | TlsMode::VerifyCa | TlsMode::VerifyFull) => (true, None),
    }
}

/// Why one way failed, and whether the other may do better.
#[derive(Debug)]
struct Failure {
    error: Error,
    another_way: bool,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { error, another_way: false }
    }
}

async fn attempt(target: &Target, login: &Login, tls: bool) -> Result<Dialed, Failure> {
    let stream = connect(target).await.map_err(|error| unreachable(target, error))?;
    let stream = match stream {
        Stream::Tcp(stream) if tls => encrypt(target, stream).await?,
        stream @ (Stream::Tcp(_) | Stream::Unix(_) | Stream::ServerTls(_) | Stream::ClientTls(_)) => stream,
    };
    let encrypted = stream.is_tls();
    login::log_in(stream, login, target.channel_binding).await.map_err(|error| Failure {
        // No entry in pg_hba.conf for this kind of connection is 28000. libpq tries again after any refusal; a wrong password
        // would then count twice.
        another_way: error.sqlstate() == SqlState(*b"28000") && encrypted == tls,
        error,
    })
}

async fn connect(target: &Target) -> io::Result<Stream> {
    match &target.host {
        Host::Unix { dir, port } => Ok(Stream::Unix(UnixStream::connect(dir.join(format!(".s.PGSQL.{port}"))).await?)),
        Host::Tcp { host, port } => {
            // Each address of the name in turn.
            let stream = TcpStream::connect((host.as_str(), *port)).await?;
            target.tcp.apply(&stream)?;
            Ok(Stream::Tcp(stream))
        }
    }
}

/// Asks for TLS. The answer is read as exactly one byte: whatever somebody stuffed in behind it ends in the handshake.
async fn encrypt(target: &Target, mut stream: TcpStream) -> Result<Stream, Failure> {
    let answer = ask_for_tls(&mut stream).await.map_err(|error| unreachable(target, error))?;
    let required = target.tls.mode() != TlsMode::Prefer && target.tls.mode() != TlsMode::Allow;
    match answer {
        b'S' => target.tls.connect(host_name(&target.host), stream).await.map_err(|error| Failure {
            error: failed(&target.host, "the TLS handshake failed").with_source(error),
            another_way: true,
        }),
        b'N' if !required => Ok(Stream::Tcp(stream)),
        b'N' => Err(failed(&target.host, "it does not support TLS, but sslmode demands it").into()),
        _ => Err(Failure { error: failed(&target.host, "it answered SSLRequest with nonsense"), another_way: true }),
    }
}

async fn ask_for_tls(stream: &mut TcpStream) -> io::Result<u8> {
    let mut request = Vec::new();
    startup::ssl_request(&mut request);
    stream.write_all(&request).await?;
    stream.read_u8().await
}

fn host_name(host: &Host) -> &str {
    match host {
        Host::Tcp { host, .. } => host,
        Host::Unix { .. } => "localhost",
    }
}

fn unreachable(target: &Target, error: io::Error) -> Error {
    failed(&target.host, "it cannot be reached").with_source(error)
}

fn failed(host: &Host, what: &str) -> Error {
    Error::new(Kind::Connect, format!("could not connect to Postgres at {host}: {what}"))
}

/// A connection that broke, or nonsense, between connect and ReadyForQuery.
fn broken(fault: Fault) -> Error {
    let what = match &fault {
        Fault::Closed => "Postgres closed the connection during login",
        Fault::Io(_) => "the connection to Postgres broke during login",
        Fault::Violation(_) => "Postgres sent an invalid message during login",
    };
    Error::new(Kind::Connect, what).with_source(fault)
}
