//! Floor 1. What a change means: the footprint of a statement seen here, the meaning of a payload from elsewhere.

mod footprint;
mod payload;
#[cfg(test)]
pub(crate) mod sample;

pub use footprint::{Footprint, Names, Relations, Scope, footprint};
pub use payload::{Change, Notice, parse_payload};
