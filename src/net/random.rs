//! Floor 3. Randomness of the operating system, for nonces, salts and keys.

use crate::error::{Error, Kind};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::rand::{SecureRandom as _, SystemRandom};

/// `N` bytes that nobody can guess.
pub fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    let filled = SystemRandom::new().fill(&mut bytes);
    filled.map_err(|_| Error::new(Kind::Internal, "no randomness"))?;
    Ok(bytes)
}

/// A SCRAM nonce: as many bytes as Postgres takes, printable and without a comma.
pub fn nonce() -> Result<String, Error> {
    Ok(STANDARD.encode(random::<18>()?))
}
