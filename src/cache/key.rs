//! Floor 1. Keys: whole, byte for byte, with the hash inside.
//!
//! A key is a list of parts, each behind its length, so that no two different lists give the same bytes. The hash only
//! finds the place; equality is that of the bytes. The first part is always the database name.

use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::Arc;

use foldhash::quality::RandomState;

/// Writes keys into one buffer that is used again and again; a connection keeps one.
#[derive(Clone, Debug)]
pub struct KeyBuilder {
    bytes: Vec<u8>,
    /// Where the parts after the database name begin.
    base: usize,
    state: RandomState,
}

/// A key, borrowed from its builder. Looking it up allocates nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key<'a> {
    hash: u64,
    bytes: &'a [u8],
}

/// A key that stays: in the store, in the table of flights, or with a look-up whose turn has not come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedKey {
    hash: u64,
    bytes: Arc<[u8]>,
}

impl KeyBuilder {
    pub(super) fn new(database: &str, state: RandomState) -> Self {
        let mut builder = Self { bytes: Vec::with_capacity(256), base: 0, state };
        builder.part(database.as_bytes());
        builder.base = builder.bytes.len();
        builder
    }

    /// Forgets all parts but the database name.
    pub fn restart(&mut self) -> &mut Self {
        self.bytes.truncate(self.base);
        self
    }

    /// One more part. Parts may be empty and may hold any bytes.
    pub fn part(&mut self, part: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(&(part.len() as u64).to_le_bytes());
        self.bytes.extend_from_slice(part);
        self
    }

    /// The key of the parts so far.
    pub fn finish(&self) -> Key<'_> {
        let mut hasher = self.state.build_hasher();
        hasher.write(&self.bytes);
        Key { hash: hasher.finish(), bytes: &self.bytes }
    }
}

impl Key<'_> {
    /// A copy that outlives the builder's next key.
    pub fn to_owned_key(&self) -> OwnedKey {
        OwnedKey { hash: self.hash, bytes: self.bytes.into() }
    }

    pub(super) fn hash_value(&self) -> u64 {
        self.hash
    }

    pub(super) fn same_as(&self, other: &OwnedKey) -> bool {
        self.hash == other.hash && *self.bytes == *other.bytes
    }
}

impl OwnedKey {
    /// The borrowed form, as look-ups take it.
    pub fn as_key(&self) -> Key<'_> {
        Key { hash: self.hash, bytes: &self.bytes }
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }
}

impl Hash for Key<'_> {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        hasher.write_u64(self.hash);
    }
}

impl Hash for OwnedKey {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        hasher.write_u64(self.hash);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(state: &RandomState, database: &str, parts: &[Vec<u8>]) -> OwnedKey {
        let mut builder = KeyBuilder::new(database, state.clone());
        for part in parts {
            builder.part(part);
        }
        builder.finish().to_owned_key()
    }

    #[test]
    fn restart_keeps_the_database() {
        let state = RandomState::default();
        let mut builder = KeyBuilder::new("app", state.clone());
        builder.part(b"left over");
        let again = builder.restart().part(b"x").finish().to_owned_key();
        assert_eq!(again, key(&state, "app", &[b"x".to_vec()]));
        assert_ne!(again, key(&state, "other", &[b"x".to_vec()]));
    }

    #[test]
    fn equal_hashes_are_not_equal_keys() {
        let (a, b) = (OwnedKey { hash: 7, bytes: (*b"a").into() }, OwnedKey { hash: 7, bytes: (*b"b").into() });
        assert_ne!(a, b);
        assert!(!a.as_key().same_as(&b) && a.as_key().same_as(&a));
    }

    proptest! {
        #[test]
        fn keys_are_equal_exactly_when_their_parts_are(
            a in proptest::collection::vec(proptest::collection::vec(0u8..3, 0..4), 0..4),
            b in proptest::collection::vec(proptest::collection::vec(0u8..3, 0..4), 0..4),
        ) {
            let state = RandomState::default();
            let (left, right) = (key(&state, "d", &a), key(&state, "d", &b));
            prop_assert_eq!(left == right, a == b);
            if a == b { prop_assert_eq!(left.hash, right.hash); }
        }
    }
}
