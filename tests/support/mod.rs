//! What the outside tests share: a private Postgres, a pgdial process, a raw wire client, scripts and random sessions.

pub(crate) mod diff;
pub(crate) mod door;
pub(crate) mod encode;
pub(crate) mod message;
pub(crate) mod pgdial;
pub(crate) mod play;
pub(crate) mod postgres;
pub(crate) mod process;
pub(crate) mod rng;
pub(crate) mod script;
pub(crate) mod session;
pub(crate) mod tools;
pub(crate) mod wire;
