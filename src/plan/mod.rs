//! Floor 1. Plans: which statement text is prepared on which server, and under what name.
//!
//! A client's statement name is virtual. What is real is a [`Plan`]: a text with its parameter types, interned once per
//! database, and prepared at most once on each server connection under a name that is pgdial's own. [`ServerPlans`] says
//! which plans a server connection has, and which one to close when there are too many.

mod intern;
mod server;
#[cfg(test)]
mod tests;

pub use intern::{Described, Plan, PlanId, Plans, STAND_IN_PARAMETERS};
pub use server::{Insert, ServerPlans};
