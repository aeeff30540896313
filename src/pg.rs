//! Floor 0. Postgres's own nouns: object ids, transaction status, backend keys.

use std::fmt;

/// An object id of Postgres (`pg_class.oid`, `pg_type.oid`, ...).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Oid(pub u32);

impl fmt::Debug for Oid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Oid({})", self.0)
    }
}

/// A relation inside one database. The same number in another database is another relation,
/// therefore a `RelationId` never leaves the per-database structure that gave it out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RelationId(pub Oid);

/// The status byte of ReadyForQuery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TransactionStatus {
    /// `I`: not in a transaction block.
    Idle,
    /// `T`: in a transaction block.
    InTransaction,
    /// `E`: in a failed transaction block; everything but its end is refused.
    Failed,
}

impl TransactionStatus {
    /// The byte on the wire.
    pub fn as_byte(self) -> u8 {
        match self {
            Self::Idle => b'I',
            Self::InTransaction => b'T',
            Self::Failed => b'E',
        }
    }

    /// From the byte on the wire.
    pub fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            b'I' => Some(Self::Idle),
            b'T' => Some(Self::InTransaction),
            b'E' => Some(Self::Failed),
            _ => None,
        }
    }
}

/// What a client must present to cancel a query: BackendKeyData's process id and secret.
/// Protocol 3.0 has secrets of 4 bytes, 3.2 of up to 256.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct BackendKey {
    /// Process id.
    pub pid: i32,
    /// Secret, 4 to 256 bytes.
    pub secret: Box<[u8]>,
}

impl fmt::Debug for BackendKey {
    /// The secret must not reach a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BackendKey(pid {})", self.pid)
    }
}
