//! Floor 1. What a pool shows to Postgres in the name of its user.

use super::{Challenge, ClientKeys, ScramVerifier, StoredPassword};
use crate::config::Secret;
use parking_lot::Mutex;
use std::fmt;
use std::sync::Arc;

/// What proves to Postgres that we speak for a user.
#[derive(Clone, Default)]
pub enum Credential {
    /// Nothing: only a server that asks for nothing lets us in.
    #[default]
    None,
    /// The password; every method can be served from it.
    Password(Secret<String>),
    /// `md5...` of `pg_authid` is as good as the password for the md5 method, and for no other.
    Md5(Box<str>),
    /// What a client's login has shown, and the verifier that it fitted. It serves SCRAM as long as Postgres keeps this verifier.
    Keys(Arc<ScramVerifier>, ClientKeys),
}

impl Credential {
    /// What a stored secret gives by itself, without a client's proof. A verifier gives nothing: that is its purpose.
    pub fn of_stored(stored: &StoredPassword) -> Self {
        match stored {
            StoredPassword::Plain(password) => Self::Password(Secret::new(password.to_string())),
            StoredPassword::Md5(hash) => Self::Md5(hash.clone()),
            StoredPassword::Scram(_) => Self::None,
        }
    }

    /// What is held, for logs and errors.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Password(_) => "password",
            Self::Md5(_) => "md5",
            Self::Keys(..) => "keys",
        }
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One per pool, shared by all its dials.
#[derive(Default)]
pub struct Credentials(Mutex<Held>);

#[derive(Default)]
struct Held {
    credential: Credential,
    /// From the configuration: no login replaces it.
    fixed: bool,
    /// Derived once from the password, for the salt that Postgres has.
    derived: Option<(Challenge, ClientKeys)>,
}

impl Credentials {
    /// From the configuration's text: a password stays what it is, of a verifier the keys are still to be learned.
    pub fn configured(secret: Option<&str>) -> Self {
        let this = Self::default();
        this.configure(secret);
        this
    }

    /// A reload. What was learned from logins stays, unless the configuration says something else of this user now.
    pub fn configure(&self, secret: Option<&str>) {
        let stored = secret.filter(|secret| !secret.is_empty()).map(StoredPassword::parse);
        let mut held = self.0.lock();
        match stored.as_ref().map(|stored| (stored, Credential::of_stored(stored))) {
            Some((_, credential @ (Credential::Password(_) | Credential::Md5(_)))) => {
                *held = Held { credential, fixed: true, derived: None };
            }
            Some((StoredPassword::Scram(now), _)) => {
                let same = matches!(&held.credential, Credential::Keys(verifier, _) if verifier == now);
                if !same {
                    *held = Held::default();
                }
            }
            Some(_) | None => {
                if held.fixed {
                    *held = Held::default();
                }
            }
        }
    }

    /// A client has logged in: what it brought is newer than what other clients had brought.
    pub fn learn(&self, credential: Credential) {
        let mut held = self.0.lock();
        if held.fixed || matches!(credential, Credential::None) {
            return;
        }
        let same = match (&held.credential, &credential) {
            (Credential::Password(old), Credential::Password(new)) => old == new,
            _ => false,
        };
        if !same {
            *held = Held { credential, fixed: false, derived: None };
        }
    }

    /// What to show now.
    pub fn current(&self) -> Credential {
        self.0.lock().credential.clone()
    }

    /// Keys derived for this challenge.
    pub fn derived(&self, challenge: &Challenge) -> Option<ClientKeys> {
        self.0.lock().derived.as_ref().filter(|(of, _)| of == challenge).map(|(_, keys)| keys.clone())
    }

    /// Keeps derived keys, if the password is still the one they were derived from.
    pub fn derive(&self, challenge: Challenge, keys: ClientKeys, from: &Secret<String>) {
        let mut held = self.0.lock();
        if matches!(&held.credential, Credential::Password(password) if password == from) {
            held.derived = Some((challenge, keys));
        }
    }
}
