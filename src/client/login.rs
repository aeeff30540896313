//! Floor 4. From accept to AuthenticationOk.
//!
//! ```text
//!   packets: (SSLRequest | GSSENCRequest)* --> CancelRequest --> over
//!                                          --> StartupMessage --> proof of identity --> session
//! ```
//! Before the proof a client costs one small buffer. The time is bounded by the caller; what remains to be sent at the end
//! is handed over, so that it leaves in one write with the parameters.

mod guard;
mod known;
mod proof;
mod startup;

#[cfg(test)]
mod tests;

pub use guard::Guard;
pub use known::Queries;

use crate::auth::{Credential, Found, StoredPassword, Verifiers};
use crate::config::{CONSOLE, Config};
use crate::error::{Error, Kind, Result, SqlState};
use crate::net::tls::Acceptor;
use crate::net::{Fault, Peer, Stream, next_message};
use crate::pg::BackendKey;
use crate::wire::frontend::tag;
use crate::wire::startup::{Replication, StartupMessage, Version};
use std::sync::Arc;
use tokio::io::AsyncWriteExt as _;

/// What a login needs to know. Cheap to clone; a reload makes a new one.
#[derive(Clone)]
pub struct LoginContext {
    /// Users, databases, methods.
    pub config: Arc<Config>,
    /// None: SSLRequest is answered `N`.
    pub tls: Option<Arc<Acceptor>>,
    /// Lives as long as the process, over reloads.
    pub verifiers: Arc<Verifiers>,
    /// Lives as long as the process, over reloads.
    pub guard: Arc<Guard>,
    /// For users that the configuration does not have.
    pub queries: Arc<Queries>,
}

impl LoginContext {
    /// Makes the verifiers of all configured users, one after the other: who comes first shall not wait for it, and nobody
    /// shall see by the time that a user is one of them.
    pub async fn prepare(self: Arc<Self>) {
        for user in &self.config.users {
            let Some(password) = &user.password else { continue };
            let stored = StoredPassword::parse(password.expose());
            if let Found::Derive(pending) = self.verifiers.find(&user.name, Some(&stored)) {
                // What fails here is said at the login that needs it.
                let _ = self.guard.derive(&pending).await;
            }
        }
    }
}

/// How a login ended, if not with an error.
pub enum Outcome {
    /// The client is who it says.
    Session(LoggedIn),
    /// The connection asked to cancel another's query. It is closed without an answer, and not before that is done: until then its
    /// client sends nothing that must not be cancelled.
    Cancel(BackendKey, Stream),
    /// The peer left without saying anything: a port probe, or a TLS-capable client that turned away.
    Closed,
}

/// A client that may send queries.
pub struct LoggedIn {
    /// The connection.
    pub stream: Stream,
    /// Where it comes from.
    pub peer: Peer,
    /// Proven, or trusted.
    pub user: Box<str>,
    /// Exists in the configuration, or is the console's name.
    pub database: Box<str>,
    /// Version and all parameters, in order.
    pub startup: StartupMessage,
    /// Protocol version spoken from here on.
    pub version: Version,
    /// What the login has shown, and may be shown to Postgres.
    pub credential: Box<Credential>,
    /// Still to be sent, before anything else; it ends with AuthenticationOk.
    pub pending: Vec<u8>,
    /// What the client sent behind its last login message.
    pub leftover: Vec<u8>,
}

/// Runs the login. On an error the client has been told, and its connection is closed.
pub async fn login(stream: Stream, peer: Peer, context: &LoginContext) -> Result<Outcome> {
    let mut session = Session {
        stream,
        peer,
        context,
        inbox: Vec::new(),
        out: Vec::new(),
        tls_asked: false,
        gss_asked: false,
        end_point: None,
        credential: Box::default(),
    };
    if let Some(acceptor) = session.asks_directly().await {
        session = session.encrypt(&acceptor, true).await?;
    }
    loop {
        match session.run().await {
            Ok(Next::Encrypt(acceptor)) => session = session.encrypt(&acceptor, false).await?,
            Ok(Next::Cancel(key)) => return Ok(Outcome::Cancel(key, session.stream)),
            Ok(Next::Closed) => return Ok(Outcome::Closed),
            Ok(Next::Enter(startup)) => return session.enter(startup).map(Outcome::Session),
            Err(error) => {
                session.refuse(&error).await;
                return Err(error);
            }
        }
    }
}

/// What is to be done with a connection.
enum Next {
    Encrypt(Arc<Acceptor>),
    Cancel(BackendKey),
    Enter(StartupMessage),
    Closed,
}

struct Session<'a> {
    stream: Stream,
    peer: Peer,
    context: &'a LoginContext,
    inbox: Vec<u8>,
    out: Vec<u8>,
    tls_asked: bool,
    gss_asked: bool,
    /// What channel binding is offered with.
    end_point: Option<Box<[u8]>>,
    credential: Box<Credential>,
}

impl Session<'_> {
    async fn run(&mut self) -> Result<Next> {
        let next = self.first_packet().await?;
        if let Next::Enter(startup) = &next {
            self.identify(startup).await?;
        }
        Ok(next)
    }

    /// Postgres's order: the connection's kind, the proof, and only then whether the database exists.
    async fn identify(&mut self, startup: &StartupMessage) -> Result<()> {
        startup::check(startup)?;
        let (user, database) = names(startup, &self.context.config)?;
        self.check_encryption()?;
        if let Some(negotiate) = startup.negotiate() {
            negotiate.encode(&mut self.out);
        }
        *self.credential = self.prove(&user, &database).await?;
        if *database != *CONSOLE && self.context.config.database(&database).is_none() {
            let error = Error::new(Kind::Config, format!("database \"{database}\" does not exist"));
            return Err(error.with_sqlstate(SqlState(*b"3D000")).with_hint("pgdial serves the databases of its config file."));
        }
        Ok(())
    }

    fn enter(self, startup: StartupMessage) -> Result<LoggedIn> {
        let (user, database) = names(&startup, &self.context.config)?;
        Ok(LoggedIn {
            stream: self.stream,
            peer: self.peer,
            user,
            database,
            version: startup.version.spoken(),
            startup,
            credential: self.credential,
            pending: self.out,
            leftover: self.inbox,
        })
    }

    /// The next `p` message, at most `limit` bytes. What was prepared is sent first.
    async fn password_message(&mut self, limit: usize) -> Result<Vec<u8>> {
        self.flush().await?;
        let message = next_message(&mut self.stream, &mut self.inbox, limit).await.map_err(gone)?;
        if message.tag == tag::PASSWORD {
            return Ok(message.body);
        }
        let text = format!("expected password response, got message type {}", message.tag);
        Err(Error::new(Kind::Protocol, text))
    }

    async fn flush(&mut self) -> Result<()> {
        let written = self.stream.write_all(&self.out).await;
        self.out.clear();
        written.map_err(|error| gone(error.into()))?;
        self.stream.flush().await.map_err(|error| gone(error.into()))
    }

    /// Tells the client and closes. Whether that arrives is the client's affair.
    async fn refuse(&mut self, error: &Error) {
        if error.kind() == Kind::ClientGone {
            return;
        }
        error.encode(&mut self.out);
        if self.flush().await.is_ok() {
            let _ = self.stream.shutdown().await;
        }
    }
}

/// As text. A name that is not UTF-8 equals no configured one after this. Who wants the log of the whole server names no database,
/// or one by the name of `replication`: the first database's server is meant.
fn names(startup: &StartupMessage, config: &Config) -> Result<(Box<str>, Box<str>)> {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned().into_boxed_str();
    let user = startup.user().map_err(violation)?;
    let database = text(startup.database().map_err(violation)?);
    let of_server = startup.replication() == Some(Replication::Physical) && config.database(&database).is_none();
    let first = config.databases.first().filter(|_| of_server).map(|first| first.name.as_str().into());
    Ok((text(user), first.unwrap_or(database)))
}

fn violation(violation: crate::wire::Violation) -> Error {
    let error = Error::new(Kind::Protocol, violation.to_string());
    error.with_sqlstate(violation.sqlstate())
}

fn gone(fault: Fault) -> Error {
    match fault {
        Fault::Violation(found) => violation(found),
        Fault::Closed | Fault::Io(_) => Error::new(Kind::ClientGone, "the client left during login").with_source(fault),
    }
}
