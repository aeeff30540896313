//! Floor 4. The words of the counters.

use crate::cache::NoCache;
use crate::error::Kind;
use crate::metrics::Counters;
use crate::session::Pin;

/// Everything the process counts, by the words of the modules that know them.
pub type Counts = Counters<Kind, NoCache, Pin>;

crate::label!(Kind:
    Protocol, Auth, Unsupported, Config, Connect, CheckoutTimeout, QueryTimeout, IdleInTransaction, IdleSession, ServerLost,
    ClientGone, Draining, TooLarge, Limit, Internal,
);

crate::label!(Pin:
    SessionMode, OpaqueSettings, TempTable, HoldCursor, AdvisoryLock, Listen, SqlPrepare, Backend, Sequence, Opaque,
    ParseSettings,
);

crate::label!(NoCache:
    Off, Observe, NoRule, Revalidate, NotARead, SeveralStatements, NoTable, VolatileFunction, UserFunction, UserOperator,
    UserType, UserCast, ValueFunction, TimeWord, Locking, Sampling, SystemColumn, SystemRelation, Temp, UnknownRelation,
    NotPlainTable, RowSecurity, Opaque, OversizedText, InTransaction, Isolation, SessionState, Pinned, Batch, Format,
    Fence, Moved, FeedLost, CatalogUnknown, Large, TooLarge, Failed, Suspended,
);
