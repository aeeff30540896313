//! Floor 1. What does this SQL do?
//!
//! Four steps, each wrong only on the safe side:
//! [`scan()`] cuts a text into a *shape* and its literals, on the hot path, without a parser;
//! [`Classifier`] says once per shape what a statement of that shape may read, write and leave behind;
//! [`Snapshot`] holds what the catalog says of the names in it;
//! [`Routines`] holds what functions of users, named or hidden, leave behind in the session.

mod classify;
mod effects;
mod routine;
mod scan;
mod search_path;
mod snapshot;
mod statement;

pub use classify::Classifier;
pub use effects::Effects;
pub use routine::{Body, HiddenRow, Place, RoutineRow, RoutineRows, Routines, Runs, Traces, is_builtin_function, scan_body};
pub use scan::{Literal, LiteralClass, Refused, Shape, has_time_word, scan};
pub use search_path::parse_search_path;
pub use snapshot::{
    CastRow, FunctionClass, FunctionRow, Hazard, Obstacle, OperatorRow, Relation, RelationRow, RoleRow, Rows, SchemaRow,
    Snapshot, TypeRow,
};
pub use statement::{
    ALL_SETTINGS, BeginOptions, CopyKind, FunctionName, Isolation, Kind, OperatorName, RelationName, SettingVerb, Shown,
    Statement, TransactionVerb, TypeName,
};
