//! Floor 1. Reasons for which a client keeps its server between transactions.

use crate::query::Effects;

/// Why a client is tied to its server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Pin {
    /// `[pool] mode = "session"`.
    SessionMode,
    /// A setting was changed whose name cannot be told.
    OpaqueSettings,
    /// A temporary table, view or sequence may exist.
    TempTable,
    /// A cursor WITH HOLD may be open.
    HoldCursor,
    /// A session-level advisory lock may be held.
    AdvisoryLock,
    /// The session listens on a channel.
    Listen,
    /// SQL PREPARE, EXECUTE or DEALLOCATE was used.
    SqlPrepare,
    /// A library was loaded, or the random seed set.
    Backend,
    /// A sequence may have been advanced, and currval() or lastval() is in use.
    Sequence,
    /// Something ran whose effect on the session is not known.
    Opaque,
    /// A statement was prepared while a transaction had settings of its own.
    ParseSettings,
}

impl Pin {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 11] = [
        Self::SessionMode,
        Self::OpaqueSettings,
        Self::TempTable,
        Self::HoldCursor,
        Self::AdvisoryLock,
        Self::Listen,
        Self::SqlPrepare,
        Self::Backend,
        Self::Sequence,
        Self::Opaque,
        Self::ParseSettings,
    ];

    /// The word in metrics, logs and docs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SessionMode => "session_mode",
            Self::OpaqueSettings => "opaque_settings",
            Self::TempTable => "temp_table",
            Self::HoldCursor => "hold_cursor",
            Self::AdvisoryLock => "advisory_lock",
            Self::Listen => "listen",
            Self::SqlPrepare => "sql_prepare",
            Self::Backend => "backend",
            Self::Sequence => "sequence",
            Self::Opaque => "opaque",
            Self::ParseSettings => "parse_settings",
        }
    }

    /// SQL that is true while it holds, for those of which Postgres can tell. Nothing in it depends on search_path.
    pub fn exists(self) -> Option<&'static str> {
        match self {
            // Everything in a schema depends on it; 2615 is pg_namespace.
            Self::TempTable => Some(
                "EXISTS (SELECT FROM pg_catalog.pg_depend WHERE refclassid OPERATOR(pg_catalog.=) 2615 \
                 AND refobjid OPERATOR(pg_catalog.=) pg_catalog.pg_my_temp_schema())",
            ),
            Self::HoldCursor => Some("EXISTS (SELECT FROM pg_catalog.pg_cursors WHERE is_holdable)"),
            Self::AdvisoryLock => Some(
                "EXISTS (SELECT FROM pg_catalog.pg_locks WHERE locktype OPERATOR(pg_catalog.=) 'advisory' \
                 AND pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid())",
            ),
            Self::Listen => Some("EXISTS (SELECT FROM pg_catalog.pg_listening_channels())"),
            Self::SessionMode
            | Self::OpaqueSettings
            | Self::SqlPrepare
            | Self::Backend
            | Self::Sequence
            | Self::Opaque
            | Self::ParseSettings => None,
        }
    }

    fn bit(self) -> u16 {
        1 << (self as u16)
    }
}

/// The set of pins that a client holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pins(u16);

impl Pins {
    /// Adds one; true when it is new.
    pub fn add(&mut self, pin: Pin) -> bool {
        let before = self.0;
        self.0 |= pin.bit();
        before != self.0
    }

    /// Takes one away: what it stood for is gone.
    pub fn remove(&mut self, pin: Pin) {
        self.0 &= !pin.bit();
    }

    /// Whether this pin is held.
    pub fn has(self, pin: Pin) -> bool {
        self.0 & pin.bit() != 0
    }

    /// Whether none is held.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether no other than this one is held.
    pub fn is_only(self, pin: Pin) -> bool {
        self.0 & !pin.bit() == 0
    }

    /// The pins held.
    pub fn iter(self) -> impl Iterator<Item = Pin> {
        Pin::ALL.into_iter().filter(move |pin| self.has(*pin))
    }

    /// Whether DISCARD ALL restores the server fully. What it leaves behind (a loaded library, a seed, the names of
    /// custom settings, whatever ran unseen) must not be met by another client.
    pub fn undone_by_discard_all(self) -> bool {
        !self.has(Pin::Backend) && !self.has(Pin::Opaque) && !self.has(Pin::OpaqueSettings)
    }

    /// Only what no statement of the client can undo is left.
    pub(super) fn clear_but_mode(&mut self) {
        self.0 &= Pin::SessionMode.bit() | Pin::Backend.bit();
    }

    /// The pins that a statement with these effects brings about.
    pub fn of(effects: Effects) -> Self {
        let mut pins = Self::default();
        for (effect, pin) in [
            (Effects::OPAQUE_SETTING, Pin::OpaqueSettings),
            (Effects::TEMP, Pin::TempTable),
            (Effects::CURSOR_HOLD, Pin::HoldCursor),
            (Effects::ADVISORY_LOCK, Pin::AdvisoryLock),
            (Effects::LISTEN, Pin::Listen),
            (Effects::PREPARE, Pin::SqlPrepare),
            (Effects::LOAD, Pin::Backend),
            (Effects::SETSEED, Pin::Backend),
            (Effects::OPAQUE, Pin::Opaque),
        ] {
            if effects.contains(effect) {
                pins.add(pin);
            }
        }
        pins
    }

    /// Those whose end can be seen by asking Postgres.
    pub fn that_can_be_checked(self) -> Self {
        let mut checkable = Self::default();
        for pin in [Pin::TempTable, Pin::HoldCursor, Pin::AdvisoryLock, Pin::SqlPrepare] {
            if self.has(pin) {
                checkable.add(pin);
            }
        }
        checkable
    }

    /// Those that are not in `other`.
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Both.
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}
