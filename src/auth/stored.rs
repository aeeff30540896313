//! Floor 1. A user's secret as the configuration or `pg_authid` keeps it.

use super::{Credential, ScramVerifier, md5_password, md5_response, same_secret};
use std::fmt;
use std::sync::Arc;

/// One of the three forms a password is kept in.
#[derive(Clone, PartialEq, Eq)]
pub enum StoredPassword {
    /// The password itself; every method can be served from it.
    Plain(Box<str>),
    /// `md5` and 32 hex digits; serves md5 and cleartext.
    Md5(Box<str>),
    /// Serves SCRAM and cleartext.
    Scram(Arc<ScramVerifier>),
}

impl StoredPassword {
    /// By its look, exactly as Postgres tells them apart.
    pub fn parse(text: &str) -> Self {
        if let Some(verifier) = ScramVerifier::parse(text) {
            return Self::Scram(Arc::new(verifier));
        }
        if is_md5(text) { Self::Md5(text.into()) } else { Self::Plain(text.into()) }
    }

    /// Is this the password? PBKDF2 for the SCRAM form: not for a thread that serves others.
    pub fn matches_cleartext(&self, user: &str, given: &[u8]) -> Matched {
        let fits = match self {
            Self::Plain(password) => same_secret(password.as_bytes(), given),
            Self::Md5(stored) => same_secret(stored.as_bytes(), md5_password(user, given).as_bytes()),
            Self::Scram(verifier) => {
                let keys = verifier.prove(given);
                return keys.map_or(Matched::No, |keys| Matched::Yes(Credential::Keys(Arc::clone(verifier), keys)));
            }
        };
        if fits { Matched::Yes(Credential::of_stored(self)) } else { Matched::No }
    }

    /// Is this the right answer to AuthenticationMD5Password? The SCRAM form has none.
    pub fn matches_md5(&self, user: &str, salt: [u8; 4], given: &[u8]) -> bool {
        let expected = match self {
            Self::Plain(password) => md5_response(&md5_password(user, password.as_bytes()), salt),
            Self::Md5(stored) => md5_response(stored, salt),
            Self::Scram(_) => return false,
        };
        same_secret(expected.as_bytes(), given)
    }
}

/// Whether a password was right, and what then speaks for the user at Postgres.
#[derive(Debug)]
pub enum Matched {
    /// It was not.
    No,
    /// It was.
    Yes(Credential),
}

impl fmt::Debug for StoredPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain(_) => "Plain(***)",
            Self::Md5(_) => "Md5(***)",
            Self::Scram(_) => "Scram(***)",
        })
    }
}

/// Upper case hex is not what Postgres writes, and it takes such text for a plain password.
fn is_md5(text: &str) -> bool {
    let digits = text.strip_prefix("md5").unwrap_or_default().as_bytes();
    digits.len() == 32 && digits.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}
