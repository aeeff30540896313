//! Floor 1. Verifiers of users whose password is kept in plain text: derived once, then kept.

use super::scram::{DEFAULT_ITERATIONS, Hash, sign, stable_salt};
use super::{ScramVerifier, StoredPassword};
use lru::LruCache;
use parking_lot::Mutex;
use std::num::NonZeroUsize;
use std::sync::Arc;
use tokio::sync::OnceCell;

/// One per process. Bounded; an unknown name leaves nothing behind.
pub struct Verifiers {
    secret: [u8; 32],
    /// By user and password: one name may have another password in another database.
    derived: Mutex<LruCache<Hash, Arc<Pending>, foldhash::fast::RandomState>>,
}

/// Users of one process, generously.
const KEPT: NonZeroUsize = match NonZeroUsize::new(10_000) {
    Some(kept) => kept,
    None => NonZeroUsize::MIN,
};

/// Where the verifier of a name comes from.
pub enum Found {
    /// At hand; `known` is false for a name nobody has.
    Ready {
        /// To run the exchange with.
        verifier: Arc<ScramVerifier>,
        /// False: the exchange must fail at its end.
        known: bool,
    },
    /// To be derived, by one for all who wait for it.
    Derive(Arc<Pending>),
}

/// A verifier that is being made: `cell.get_or_init(..)` with [`Pending::derive`] on a thread that may be slow.
pub struct Pending {
    /// Filled once.
    pub cell: OnceCell<Arc<ScramVerifier>>,
    password: Box<str>,
    salt: Box<[u8]>,
}

impl Pending {
    /// PBKDF2: milliseconds of CPU.
    pub fn derive(&self) -> ScramVerifier {
        ScramVerifier::derive(self.password.as_bytes(), &self.salt, DEFAULT_ITERATIONS)
    }
}

impl Verifiers {
    /// `secret` is random and lives as long as the process. Salts come from it, for real and for unknown names alike.
    pub fn new(secret: [u8; 32]) -> Self {
        let derived = LruCache::with_hasher(KEPT, foldhash::fast::RandomState::default());
        Self { secret, derived: Mutex::new(derived) }
    }

    /// `stored` is None for an unknown name. An md5 secret cannot serve SCRAM, which must look like a wrong password.
    pub fn find(&self, user: &str, stored: Option<&StoredPassword>) -> Found {
        match stored {
            Some(StoredPassword::Scram(verifier)) => Found::Ready { verifier: Arc::clone(verifier), known: true },
            Some(StoredPassword::Plain(password)) if !password.is_empty() => self.of_plain(user, password),
            Some(StoredPassword::Plain(_) | StoredPassword::Md5(_)) | None => {
                Found::Ready { verifier: Arc::new(ScramVerifier::mock(&self.secret, user)), known: false }
            }
        }
    }

    /// For a name nobody has, where the password itself is asked for: as much work as for a name that somebody has.
    pub fn mock(&self, user: &str) -> ScramVerifier {
        ScramVerifier::mock(&self.secret, user)
    }

    fn of_plain(&self, user: &str, password: &str) -> Found {
        let key = sign(&self.secret, &[b"password", user.as_bytes(), &[0], password.as_bytes()]);
        let mut derived = self.derived.lock();
        let new = || {
            let salt = stable_salt(&self.secret, user);
            Arc::new(Pending { cell: OnceCell::new(), password: password.into(), salt })
        };
        let pending = derived.get_or_insert(key, new);
        match pending.cell.get() {
            Some(verifier) => Found::Ready { verifier: Arc::clone(verifier), known: true },
            None => Found::Derive(Arc::clone(pending)),
        }
    }
}
