//! Floor 0. Errors: one public type, one kind, and three methods of the kind that decide what an error does.
//!
//! Only this file turns a kind into an ErrorResponse. The client is sent the message and the hint; the source is for
//! the log and never leaves the process. Invariant: a message holds no secret and no text of a source.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;

use crate::wire::Violation;
use crate::wire::diagnostics::Report;
pub use crate::wire::diagnostics::{Severity, SqlState};

#[cfg(test)]
mod tests;

/// What most of pgdial returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What becomes of the server connection that was held when the error arose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fate {
    /// Untouched by the error: it may be leased again as it is.
    Keep,
    /// In step with us, but inside a transaction: ROLLBACK first.
    Reset,
    /// Its place in the protocol is not known: close it.
    Close,
}

/// What went wrong, as far as anybody must act on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A peer broke the wire protocol.
    Protocol,
    /// The client is not who it says, or may not enter.
    Auth,
    /// Postgres can do this, pgdial (in this mode) cannot.
    Unsupported,
    /// The configuration is wrong.
    Config,
    /// Postgres could not be reached, or refused our login.
    Connect,
    /// No server became free within `checkout_timeout`.
    CheckoutTimeout,
    /// A statement ran longer than `query_timeout`.
    QueryTimeout,
    /// A client sat in an open transaction longer than `idle_in_transaction_timeout`.
    IdleInTransaction,
    /// A client sat idle longer than `client_idle_timeout`.
    IdleSession,
    /// The server connection broke while it was in use.
    ServerLost,
    /// The client's connection broke; nobody is left to be told.
    ClientGone,
    /// pgdial is stopping.
    Draining,
    /// A message or result is over a bound.
    TooLarge,
    /// A configured number of something is used up.
    Limit,
    /// A fault of pgdial.
    Internal,
}

impl Kind {
    /// Every kind, for tables in tests and for metrics.
    pub const ALL: [Self; 15] = [
        Self::Protocol,
        Self::Auth,
        Self::Unsupported,
        Self::Config,
        Self::Connect,
        Self::CheckoutTimeout,
        Self::QueryTimeout,
        Self::IdleInTransaction,
        Self::IdleSession,
        Self::ServerLost,
        Self::ClientGone,
        Self::Draining,
        Self::TooLarge,
        Self::Limit,
        Self::Internal,
    ];

    /// What Postgres would send in the same situation, so that drivers' retry rules work unchanged.
    pub fn sqlstate(self) -> SqlState {
        SqlState(*match self {
            Self::Protocol => b"08P01",
            Self::Auth => b"28P01",
            Self::Unsupported => b"0A000",
            Self::Config => b"F0000",
            Self::Connect => b"08001",
            Self::CheckoutTimeout | Self::Limit => b"53300",
            Self::QueryTimeout => b"57014",
            Self::IdleInTransaction => b"25P03",
            Self::IdleSession => b"57P05",
            Self::ServerLost | Self::ClientGone => b"08006",
            Self::Draining => b"57P01",
            Self::TooLarge => b"54000",
            Self::Internal => b"XX000",
        })
    }

    /// ERROR where the session can go on: nothing was sent to a server, so no transaction state was lost.
    /// All others end the session, as the same event would have ended it without pgdial in between.
    pub fn level(self) -> Severity {
        match self {
            Self::Unsupported | Self::Connect | Self::CheckoutTimeout => Severity::Error,
            Self::Protocol
            | Self::Auth
            | Self::Config
            | Self::QueryTimeout
            | Self::IdleInTransaction
            | Self::IdleSession
            | Self::ServerLost
            | Self::ClientGone
            | Self::Draining
            | Self::TooLarge
            | Self::Limit
            | Self::Internal => Severity::Fatal,
        }
    }

    /// Close whenever bytes may be under way on the server connection: a needless reconnect costs
    /// milliseconds, a reply that reaches the wrong client is unforgivable.
    pub fn fate(self) -> Fate {
        match self {
            Self::Auth
            | Self::Unsupported
            | Self::Config
            | Self::CheckoutTimeout
            | Self::IdleSession
            | Self::Draining
            | Self::Limit => Fate::Keep,
            Self::IdleInTransaction => Fate::Reset,
            Self::Protocol
            | Self::Connect
            | Self::QueryTimeout
            | Self::ServerLost
            | Self::ClientGone
            | Self::TooLarge
            | Self::Internal => Fate::Close,
        }
    }

    /// Metric label, log field, doc row.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Protocol => "protocol",
            Self::Auth => "auth",
            Self::Unsupported => "unsupported",
            Self::Config => "config",
            Self::Connect => "connect",
            Self::CheckoutTimeout => "checkout_timeout",
            Self::QueryTimeout => "query_timeout",
            Self::IdleInTransaction => "idle_in_transaction",
            Self::IdleSession => "idle_session",
            Self::ServerLost => "server_lost",
            Self::ClientGone => "client_gone",
            Self::Draining => "draining",
            Self::TooLarge => "too_large",
            Self::Limit => "limit",
            Self::Internal => "internal",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An error with the words for the client, and the cause for the log.
pub struct Error {
    kind: Kind,
    sqlstate: SqlState,
    level: Severity,
    message: Cow<'static, str>,
    hint: Option<Cow<'static, str>>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// `message` is sent to the client: say what happened, without secrets and without a cause's own words.
    pub fn new(kind: Kind, message: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, sqlstate: kind.sqlstate(), level: kind.level(), message: message.into(), hint: None, source: None }
    }

    /// What to do about it; sent to the client as well.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<Cow<'static, str>>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The cause; only the log sees it.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// A narrower code than the kind's own, where Postgres has one (28000 and 3D000 at login, 42501 ...).
    #[must_use]
    pub fn with_sqlstate(mut self, sqlstate: SqlState) -> Self {
        self.sqlstate = sqlstate;
        self
    }

    /// Before ReadyForQuery there is no session that could go on: every error is FATAL.
    #[must_use]
    pub fn fatal(mut self) -> Self {
        self.level = Severity::Fatal;
        self
    }

    /// What went wrong.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// What the client is told as code.
    pub fn sqlstate(&self) -> SqlState {
        self.sqlstate
    }

    /// Does the session end with this error?
    pub fn level(&self) -> Severity {
        self.level
    }

    /// The words for the client.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The advice for the client.
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// Appends the ErrorResponse.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let report = Report {
            severity: self.level,
            sqlstate: self.sqlstate,
            message: &self.message,
            detail: None,
            hint: self.hint.as_deref(),
        };
        report.encode_error(out);
    }
}

/// The client broke the protocol; a violation's words and code are made for clients. Where the end of the
/// bad message is known the session goes on, as it does in Postgres.
impl From<Violation> for Error {
    fn from(violation: Violation) -> Self {
        let mut error = Self::new(Kind::Protocol, violation.to_string());
        error.sqlstate = violation.sqlstate();
        if !violation.is_fatal() {
            error.level = Severity::Error;
        }
        error
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.kind)
            .field("message", &self.message)
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}
