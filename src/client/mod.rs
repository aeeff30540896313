//! Floor 4. Connections from applications: login, then [`relay`], THE loop.

mod begin;
mod buffers;
mod console;
mod counts;
mod gate;
mod listener;
pub mod login;
mod meter;
mod pipe;
mod relay;
mod replication;
mod session;

pub use counts::Counts;
pub use gate::{DRAIN_LIMIT, Database, Entry, Gate, set_mode};
pub use listener::listen;
pub use relay::{End, Limits};
