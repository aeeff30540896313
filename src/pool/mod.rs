//! Floor 1. Sizes, limits and queues of a pool: who gets which server connection, who waits, when to dial and what to close.
//!
//! Pure bookkeeping for ONE (database, user). It never dials, sleeps or closes anything: each operation returns the work it
//! wants done, and time and jitter come in as arguments. `server::pool` does that work.
//!
//! ```text
//!            permit                connected
//!   (room) --------> connecting --------------> idle <---------- give_back / restore
//!                        |                       |                       ^
//!                        | connect_failed        | take, take_for_check  |
//!                        v                       v                       |
//!                     (room) <-- closed ------ leased -------------------+
//! ```
//!
//! Invariants, asserted after each operation in debug builds:
//! * leased + idle + connecting <= size, and one more for each pin above `max_pinned` (when that becomes less, the excess only
//!   shrinks);
//! * a waiter and an idle connection of its set never coexist, so nobody can overtake the queue.

mod backoff;
mod ledger;
mod part;
mod totals;

#[cfg(test)]
mod tests;

pub use crate::config::IdleOrder;
pub use ledger::{Due, Given, Ledger, Settings, State};
pub use part::{ConnectPermit, Held, SetId, WaitId};
pub use totals::{CloseReason, Counts, Totals, WAIT_BUCKETS};
