//! Floor 1. SCRAM-SHA-256 (RFC 5802, RFC 7677): keys, the stored verifier, and the pieces both roles share.

use super::saslprep;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::{digest, hmac, pbkdf2};
use std::fmt;
use std::num::NonZeroU32;

/// Postgres's own default for new passwords.
pub const DEFAULT_ITERATIONS: NonZeroU32 = match NonZeroU32::new(4096) {
    Some(iterations) => iterations,
    None => NonZeroU32::MAX,
};

/// Above this a server is refused, and a verifier is not computed with: it would only cost our CPU (a tenth of a second at
/// this bound).
pub const MAX_ITERATIONS: u32 = 1_000_000;

/// One SHA-256 output.
pub(super) type Hash = [u8; 32];

/// Both halves of what a client needs instead of the password.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientKeys {
    pub(super) client_key: Hash,
    pub(super) server_key: Hash,
}

impl ClientKeys {
    /// PBKDF2: milliseconds of CPU. Not for a thread that serves others.
    pub fn derive(password: &[u8], salt: &[u8], iterations: NonZeroU32) -> Self {
        let mut salted = Hash::default();
        let password = saslprep::prepare(password);
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, iterations, salt, &password, &mut salted);
        Self { client_key: sign(&salted, &[b"Client Key"]), server_key: sign(&salted, &[b"Server Key"]) }
    }

    /// From keys kept elsewhere: the client key that a login proved, and the verifier's server key.
    pub fn new(client_key: [u8; 32], server_key: [u8; 32]) -> Self {
        Self { client_key, server_key }
    }
}

impl fmt::Debug for ClientKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientKeys(***)")
    }
}

/// What a server keeps of a password: `SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>` of `pg_authid`.
#[derive(Clone, PartialEq, Eq)]
pub struct ScramVerifier {
    pub(super) iterations: NonZeroU32,
    pub(super) salt: Box<[u8]>,
    pub(super) stored_key: Hash,
    pub(super) server_key: Hash,
}

impl ScramVerifier {
    /// PBKDF2: milliseconds of CPU. Not for a thread that serves others.
    pub fn derive(password: &[u8], salt: &[u8], iterations: NonZeroU32) -> Self {
        let keys = ClientKeys::derive(password, salt, iterations);
        Self { iterations, salt: salt.into(), stored_key: sha256(&keys.client_key), server_key: keys.server_key }
    }

    /// The text form of `pg_authid`; None if it is anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let (parameters, keys) = text.strip_prefix("SCRAM-SHA-256$")?.split_once('$')?;
        let (iterations, salt) = parameters.split_once(':')?;
        let (stored_key, server_key) = keys.split_once(':')?;
        let iterations = decimal(iterations.as_bytes())?;
        let salt = STANDARD.decode(salt).ok().filter(|salt| !salt.is_empty())?;
        Some(Self {
            iterations,
            salt: salt.into(),
            stored_key: hash_from_base64(stored_key.as_bytes())?,
            server_key: hash_from_base64(server_key.as_bytes())?,
        })
    }

    /// For a name nobody has. The salt is the same each time, as a real user's would be; no password fits.
    pub fn mock(secret: &[u8; 32], user: &str) -> Self {
        Self {
            iterations: DEFAULT_ITERATIONS,
            salt: stable_salt(secret, user),
            stored_key: sign(secret, &[b"stored key", user.as_bytes()]),
            server_key: sign(secret, &[b"server key", user.as_bytes()]),
        }
    }

    /// The keys of this password, if it belongs to the verifier. PBKDF2 again.
    pub fn prove(&self, password: &[u8]) -> Option<ClientKeys> {
        if self.iterations.get() > MAX_ITERATIONS {
            return None;
        }
        let keys = ClientKeys::derive(password, &self.salt, self.iterations);
        super::same_secret(&self.stored_key, &sha256(&keys.client_key)).then_some(keys)
    }

    /// What a client's proof adds up to: `client_key` is from [`super::Step::Done`].
    pub fn keys(&self, client_key: [u8; 32]) -> ClientKeys {
        ClientKeys::new(client_key, self.server_key)
    }

    /// Was a password hashed for this challenge, the keys would be those of this verifier?
    pub fn fits(&self, challenge: &super::Challenge) -> bool {
        *self.salt == *challenge.salt && self.iterations == challenge.iterations
    }
}

impl fmt::Display for ScramVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |bytes: &[u8]| STANDARD.encode(bytes);
        let (salt, stored, server) = (text(&self.salt), text(&self.stored_key), text(&self.server_key));
        write!(f, "SCRAM-SHA-256${}:{salt}${stored}:{server}", self.iterations)
    }
}

impl fmt::Debug for ScramVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ScramVerifier({} iterations)", self.iterations)
    }
}

/// 16 bytes as Postgres has them, the same for a name as long as the secret lives.
pub(super) fn stable_salt(secret: &[u8; 32], user: &str) -> Box<[u8]> {
    sign(secret, &[b"salt", user.as_bytes()]).into_iter().take(16).collect()
}

pub(super) fn sign(key: &[u8], parts: &[&[u8]]) -> Hash {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    let mut context = hmac::Context::with_key(&key);
    for part in parts {
        context.update(part);
    }
    hash(context.sign().as_ref())
}

pub(super) fn sha256(bytes: &[u8]) -> Hash {
    hash(digest::digest(&digest::SHA256, bytes).as_ref())
}

fn hash(bytes: &[u8]) -> Hash {
    let mut hash = Hash::default();
    for (to, from) in hash.iter_mut().zip(bytes) {
        *to = *from;
    }
    hash
}

pub(super) fn xor(a: &Hash, b: &Hash) -> Hash {
    let mut sum = *a;
    for (to, from) in sum.iter_mut().zip(b) {
        *to ^= from;
    }
    sum
}

pub(super) fn hash_from_base64(text: &[u8]) -> Option<Hash> {
    STANDARD.decode(text).ok()?.try_into().ok()
}

/// Digits only, no sign, no zero.
pub(super) fn decimal(text: &[u8]) -> Option<NonZeroU32> {
    let text = std::str::from_utf8(text).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
    text.parse().ok()
}

/// Printable ASCII without the comma, which ends an attribute.
pub(super) fn is_nonce(nonce: &[u8]) -> bool {
    !nonce.is_empty() && nonce.iter().all(|byte| matches!(byte, 0x21..=0x2b | 0x2d..=0x7e))
}

/// The attributes `x=value` of a message, in order. An item of another form is None.
pub(super) fn attributes(message: &[u8]) -> impl Iterator<Item = Option<(u8, &[u8])>> {
    message.split(|byte| *byte == b',').map(|item| match item {
        [name, b'=', value @ ..] if name.is_ascii_alphabetic() => Some((*name, value)),
        _ => None,
    })
}

/// The next attribute, which has to be `name`.
pub(super) fn expect<'a>(attributes: &mut impl Iterator<Item = Option<(u8, &'a [u8])>>, name: u8) -> Option<&'a [u8]> {
    attributes.next()?.filter(|(found, _)| *found == name).map(|(_, value)| value)
}
