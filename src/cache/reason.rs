//! Floor 1. Why a statement was not answered from memory, or its answer not kept. Each word is a row of docs/CONSISTENCY.md.

/// A reason for going to Postgres, or for not keeping what came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NoCache {
    /// `[cache] mode = "off"`.
    Off,
    /// `[cache] mode = "observe"`: it would have been answered from memory.
    Observe,
    /// A relation it reads has no rule and `[cache.default]` none either, or a ttl of zero.
    NoRule,
    /// The rule asks for `revalidate`, which is not built yet.
    Revalidate,
    /// Not a single SELECT, VALUES or TABLE without side effects.
    NotARead,
    /// Several statements in one text.
    SeveralStatements,
    /// It reads no table.
    NoTable,
    /// A built-in function that is not immutable.
    VolatileFunction,
    /// A function that is not Postgres's own, or unknown.
    UserFunction,
    /// An operator that exists outside pg_catalog.
    UserOperator,
    /// A type that is not Postgres's own.
    UserType,
    /// The database has a cast of a user between built-in types: any expression may call it.
    UserCast,
    /// CURRENT_DATE, CURRENT_USER and their like.
    ValueFunction,
    /// A literal such as 'now' or 'today'.
    TimeWord,
    /// FOR UPDATE, FOR SHARE and their like.
    Locking,
    /// TABLESAMPLE.
    Sampling,
    /// xmin, ctid, tableoid and their like.
    SystemColumn,
    /// A relation of pg_catalog, information_schema or pg_toast.
    SystemRelation,
    /// A temporary relation, or a temporary schema may hide the name.
    Temp,
    /// The catalog does not know the relation under that name.
    UnknownRelation,
    /// A view, partition, foreign table or other relation that is not a plain table.
    NotPlainTable,
    /// Row security is on for the relation.
    RowSecurity,
    /// pgdial could not read the statement.
    Opaque,
    /// The text is too long to be read.
    OversizedText,
    /// The transaction has done more than reading, or is not answered from memory yet.
    InTransaction,
    /// The session runs, or may run, at another isolation level than READ COMMITTED.
    Isolation,
    /// The session has state that the key does not hold.
    SessionState,
    /// The client is pinned to its server.
    Pinned,
    /// The batch cannot be answered from memory: no Sync yet, a row limit, several portals, or behind a write.
    Batch,
    /// A result format that pgdial does not keep.
    Format,
    /// A write is on its way and its outcome is not known yet.
    Fence,
    /// A version moved between the start of the read and its end.
    Moved,
    /// The feed is down: writes made elsewhere would not be seen.
    FeedLost,
    /// The catalog has not been read, or not since it changed.
    CatalogUnknown,
    /// The result of this key was too large a short while ago.
    Large,
    /// The result is larger than `[cache] max_result`.
    TooLarge,
    /// The read ended with an error, or was cancelled.
    Failed,
    /// The server was lost or restarted, or an operator paused the cache.
    Suspended,
}

impl NoCache {
    /// Every reason, in the order of the documentation.
    pub const ALL: [Self; 38] = [
        Self::Off,
        Self::Observe,
        Self::NoRule,
        Self::Revalidate,
        Self::NotARead,
        Self::SeveralStatements,
        Self::NoTable,
        Self::VolatileFunction,
        Self::UserFunction,
        Self::UserOperator,
        Self::UserType,
        Self::UserCast,
        Self::ValueFunction,
        Self::TimeWord,
        Self::Locking,
        Self::Sampling,
        Self::SystemColumn,
        Self::SystemRelation,
        Self::Temp,
        Self::UnknownRelation,
        Self::NotPlainTable,
        Self::RowSecurity,
        Self::Opaque,
        Self::OversizedText,
        Self::InTransaction,
        Self::Isolation,
        Self::SessionState,
        Self::Pinned,
        Self::Batch,
        Self::Format,
        Self::Fence,
        Self::Moved,
        Self::FeedLost,
        Self::CatalogUnknown,
        Self::Large,
        Self::TooLarge,
        Self::Failed,
        Self::Suspended,
    ];

    /// The word in metrics, logs and documentation.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Observe => "observe",
            Self::NoRule => "no_rule",
            Self::Revalidate => "revalidate",
            Self::NotARead => "not_a_read",
            Self::SeveralStatements => "several_statements",
            Self::NoTable => "no_table",
            Self::VolatileFunction => "volatile_function",
            Self::UserFunction => "user_function",
            Self::UserOperator => "user_operator",
            Self::UserType => "user_type",
            Self::UserCast => "user_cast",
            Self::ValueFunction => "value_function",
            Self::TimeWord => "time_word",
            Self::Locking => "locking",
            Self::Sampling => "sampling",
            Self::SystemColumn => "system_column",
            Self::SystemRelation => "system_relation",
            Self::Temp => "temp",
            Self::UnknownRelation => "unknown_relation",
            Self::NotPlainTable => "not_plain_table",
            Self::RowSecurity => "row_security",
            Self::Opaque => "opaque",
            Self::OversizedText => "oversized_text",
            Self::InTransaction => "in_transaction",
            Self::Isolation => "isolation",
            Self::SessionState => "session_state",
            Self::Pinned => "pinned",
            Self::Batch => "batch",
            Self::Format => "format",
            Self::Fence => "fence",
            Self::Moved => "moved",
            Self::FeedLost => "feed_lost",
            Self::CatalogUnknown => "catalog_unknown",
            Self::Large => "large",
            Self::TooLarge => "too_large",
            Self::Failed => "failed",
            Self::Suspended => "suspended",
        }
    }

    /// Its place in `ALL`, for tables of counters.
    pub(super) fn index(self) -> usize {
        self as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_its_place_and_a_word_of_its_own() {
        for (at, reason) in NoCache::ALL.iter().enumerate() {
            assert_eq!(reason.index(), at, "{reason:?}");
            let word = reason.as_str();
            assert!(word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{word}");
            assert_eq!(NoCache::ALL.iter().filter(|other| other.as_str() == word).count(), 1, "{word}");
        }
    }

    #[test]
    fn each_reason_is_documented() {
        let page = include_str!("../../docs/CONSISTENCY.md");
        for reason in NoCache::ALL {
            assert!(page.contains(&format!("| `{}` |", reason.as_str())), "{}", reason.as_str());
        }
    }
}
