//! Floor 1. Results from memory that are never wrong.
//!
//! | file | what |
//! |---|---|
//! | `versions` | one atomic word per relation: version and writes in flight |
//! | `fence` | a write's footprint, held up while its outcome is open |
//! | `key`, `store` | whole keys; entries within a budget of bytes |
//! | `flight` | one read per key goes to Postgres, the others wait |
//! | `policy`, `plan` | which reads may be answered from memory, and what they depend on |
//! | `database` | all of it for one database |
//! | `lookup` | the way of a read through it: [`Database::lookup`] |
//!
//! What must hold, and is checked in `model`: an entry is given out only while every version it was read under is
//! unmoved and no fence is up; versions are noted before a byte of the read is sent; a fence is up from before the first
//! byte that can commit until the ReadyForQuery, and its lowering moves the version in the same step.

mod counters;
mod database;
mod fence;
mod flight;
mod key;
mod lookup;
mod plan;
mod policy;
mod reason;
mod store;
mod versions;

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

pub use counters::Totals;
pub use database::{Cache, Database, Settings, Suspension};
pub use fence::{Fence, FenceId, Open, Origin, Unresolved};
pub use flight::{FillPermit, Join, Joined, Published};
pub use key::{Key, KeyBuilder, OwnedKey};
pub use lookup::{Columns, Lookup, Peek};
pub use plan::{PlanMemo, ReadPlan};
pub use policy::{Reading, Rules, read_plan};
pub use reason::NoCache;
pub use store::{Answer, Entry};
pub use versions::{Counter, Currency, Dependencies, Stamp};
