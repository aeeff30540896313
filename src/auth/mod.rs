//! Floor 1. Who may enter: SCRAM-SHA-256 in both roles, md5 and cleartext, as step machines of bytes in and bytes out.
//!
//! Nonces and salts come in as arguments. Three rules hold everywhere: secrets are compared in constant time, an
//! unknown user cannot be told from a wrong password, and nothing a peer sends makes us compute without bound.

mod certificate;
mod client;
mod credentials;
mod md5;
mod saslprep;
mod scram;
mod server;
mod stored;
mod throttle;
mod verifiers;

#[cfg(test)]
mod tests;

pub use certificate::{common_name, end_point};
pub use client::{Binding, Challenge, ClientScram};
pub use credentials::{Credential, Credentials};
pub use md5::{md5_password, md5_response};
pub use scram::{ClientKeys, DEFAULT_ITERATIONS, MAX_ITERATIONS, ScramVerifier};
pub use server::{ServerScram, Step};
pub use stored::{Matched, StoredPassword};
pub use throttle::{Origin, Throttle};
pub use verifiers::{Found, Pending, Verifiers};

use crate::error::{Error, Kind, SqlState};
use std::fmt;

/// The SASL mechanism without channel binding.
pub const SCRAM_SHA_256: &str = "SCRAM-SHA-256";
/// And with it: over TLS only.
pub const SCRAM_SHA_256_PLUS: &str = "SCRAM-SHA-256-PLUS";

/// Why an exchange ended without success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The proof does not fit the password, or there is no such user: one value, so that nobody can tell.
    WrongPassword,
    /// A message that RFC 5802 does not allow; the text says what was expected.
    Malformed(&'static str),
    /// The nonce is not the one of this exchange.
    WrongNonce,
    /// The header that was confirmed is not the header that was sent.
    Header,
    /// The TLS connections of the two sides are not the same: somebody is in between.
    ChannelBinding,
    /// The client could bind and thinks that it was not offered, though it was: somebody is in between.
    Downgrade,
    /// The peer asks for something of RFC 5802 that Postgres does not do either.
    Unsupported(&'static str),
    /// The other side wants more hash rounds than anyone honest needs.
    TooManyIterations,
    /// The server does not know the password itself.
    WrongServer,
}

impl Refusal {
    /// Metric label, log field, doc row.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::WrongPassword => "wrong_password",
            Self::Malformed(_) => "malformed",
            Self::WrongNonce => "wrong_nonce",
            Self::Header => "header",
            Self::ChannelBinding => "channel_binding",
            Self::Downgrade => "downgrade",
            Self::Unsupported(_) => "unsupported",
            Self::TooManyIterations => "too_many_iterations",
            Self::WrongServer => "wrong_server",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WrongPassword => f.write_str("password authentication failed"),
            Self::Malformed(what) => write!(f, "malformed SCRAM message: {what}"),
            Self::WrongNonce => f.write_str("invalid SCRAM response: nonce does not match"),
            Self::Header => f.write_str("unexpected SCRAM channel-binding attribute in client-final-message"),
            Self::ChannelBinding => f.write_str("SCRAM channel binding check failed"),
            Self::Downgrade => f.write_str("SCRAM channel binding negotiation error"),
            Self::Unsupported(what) => f.write_str(what),
            Self::TooManyIterations => f.write_str("SCRAM iteration count is too high"),
            Self::WrongServer => f.write_str("incorrect server signature"),
        }
    }
}

impl std::error::Error for Refusal {}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        let kind = match refusal {
            Refusal::WrongPassword | Refusal::WrongServer | Refusal::ChannelBinding | Refusal::Downgrade => Kind::Auth,
            Refusal::Unsupported(_) => Kind::Unsupported,
            Refusal::Malformed(_) | Refusal::WrongNonce | Refusal::Header | Refusal::TooManyIterations => Kind::Protocol,
        };
        let error = Self::new(kind, refusal.to_string()).fatal();
        match refusal {
            Refusal::ChannelBinding => error.with_sqlstate(SqlState(*b"28000")),
            Refusal::Downgrade => error.with_sqlstate(SqlState(*b"28000")).with_hint(
                "The client supports SCRAM channel binding but thinks the server does not. However, this server does.",
            ),
            Refusal::WrongPassword
            | Refusal::WrongServer
            | Refusal::Unsupported(_)
            | Refusal::Malformed(_)
            | Refusal::WrongNonce
            | Refusal::Header
            | Refusal::TooManyIterations => error,
        }
    }
}

/// Takes as long for the first different byte as for the last. Lengths are no secret.
pub(crate) fn same_secret(a: &[u8], b: &[u8]) -> bool {
    let difference = a.iter().zip(b).fold(0u8, |sum, (a, b)| std::hint::black_box(sum | (a ^ b)));
    a.len() == b.len() && difference == 0
}
