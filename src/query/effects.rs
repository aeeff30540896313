//! Floor 1. The session state that a statement may leave behind on its server connection.

use std::fmt;
use std::ops::{BitOr, BitOrAssign};

/// A set of session effects: what may outlive the transaction that ran the statement.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Effects(u32);

impl Effects {
    /// Nothing is left behind.
    pub const NONE: Self = Self(0);
    /// SET, `set_config(.., false)`, SET SESSION CHARACTERISTICS.
    pub const SETTING: Self = Self(1);
    /// SET ROLE, SET SESSION AUTHORIZATION.
    pub const ROLE: Self = Self(1 << 1);
    /// SQL-level PREPARE.
    pub const PREPARE: Self = Self(1 << 2);
    /// LISTEN.
    pub const LISTEN: Self = Self(1 << 3);
    /// The temporary schema was, or may have been, used.
    pub const TEMP: Self = Self(1 << 4);
    /// DECLARE .. WITH HOLD.
    pub const CURSOR_HOLD: Self = Self(1 << 5);
    /// A session-level advisory lock was taken.
    pub const ADVISORY_LOCK: Self = Self(1 << 6);
    /// LOAD.
    pub const LOAD: Self = Self(1 << 7);
    /// `setseed()`, or SET seed.
    pub const SETSEED: Self = Self(1 << 8);
    /// `nextval()`, `setval()`; in a function's body also what may run a default: INSERT, MERGE, COPY, SET .. = DEFAULT.
    pub const SEQUENCE: Self = Self(1 << 9);
    /// SQL-level DEALLOCATE.
    pub const DEALLOCATE: Self = Self(1 << 10);
    /// DISCARD.
    pub const DISCARD: Self = Self(1 << 11);
    /// RESET, UNLISTEN, DISCARD, the release of an advisory lock: a session that is as it was at login stays so.
    pub const RESTORE: Self = Self(1 << 13);
    /// Unknown: DO, CALL, text that could not be parsed.
    /// Functions of users are not in here: they are named in `Statement::functions` and judged against the catalog.
    pub const OPAQUE: Self = Self(1 << 12);
    /// Settings whose names cannot be told: `set_config()` of a name that is not a literal, RESET ALL, in a function's body.
    pub const OPAQUE_SETTING: Self = Self(1 << 14);
    /// ALTER ROLE .. SET, ALTER DATABASE .. SET, ALTER SYSTEM: with what sessions begin that are to come.
    pub const DEFAULTS: Self = Self(1 << 16);

    /// A look at `currval()` or `lastval()`.
    pub const CURRVAL: Self = Self(1 << 15);

    /// All of them, with the word for metrics, logs and docs.
    pub const WORDS: [(Self, &'static str); 17] = [
        (Self::SETTING, "setting"),
        (Self::ROLE, "role"),
        (Self::PREPARE, "prepare"),
        (Self::LISTEN, "listen"),
        (Self::TEMP, "temp"),
        (Self::CURSOR_HOLD, "cursor_hold"),
        (Self::ADVISORY_LOCK, "advisory_lock"),
        (Self::LOAD, "load"),
        (Self::SETSEED, "setseed"),
        (Self::SEQUENCE, "sequence"),
        (Self::DEALLOCATE, "deallocate"),
        (Self::DISCARD, "discard"),
        (Self::OPAQUE, "opaque"),
        (Self::RESTORE, "restore"),
        (Self::OPAQUE_SETTING, "opaque_setting"),
        (Self::CURRVAL, "currval"),
        (Self::DEFAULTS, "defaults"),
    ];

    /// Whether every effect of `other` is in this set.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether at least one effect of `other` is in this set.
    pub fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Nothing is left behind.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Adds `other`.
    pub fn insert(&mut self, other: Self) {
        self.0 |= other.0;
    }

    /// The words of the effects in this set.
    pub fn words(self) -> impl Iterator<Item = &'static str> {
        Self::WORDS.into_iter().filter(move |(effect, _)| self.contains(*effect)).map(|(_, word)| word)
    }
}

impl BitOr for Effects {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for Effects {
    fn bitor_assign(&mut self, other: Self) {
        self.insert(other);
    }
}

impl fmt::Debug for Effects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.words()).finish()
    }
}
