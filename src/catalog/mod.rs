//! Floor 3. What Postgres says of its tables.
//!
//! A [`Watcher`] per database holds one control connection. It reads the catalog in one snapshot of Postgres's, asks every so often
//! whether anything has changed, and withdraws what it read as soon as it cannot ask.
//! A [`RoutineWatcher`] does the same for what functions leave behind in sessions.

mod auth_query;
mod load;
mod routines;
mod tls;
mod watch;

pub use auth_query::{Answer, AuthQuery};
pub use load::load;
pub use routines::{Generation, RoutineWatcher, load_routines};
pub use tls::MakeRustls;
pub use watch::{Change, Mark, OnChange, Watcher};

#[cfg(test)]
mod tests;
