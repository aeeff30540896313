//! Floor 3. Connections to Postgres: dial, pool, checkout, janitor, cancel.

mod cancel;
mod card;
mod conn;
pub mod dial;
mod dialer;
mod fanout;
pub mod janitor;
pub mod pool;

pub use cancel::{Doing, Holding, Registry, Slot};
pub use card::{Cards, ClientCard, Place, ServerCard};
pub use conn::ServerConn;
pub use dial::Target;
pub use dialer::{Account, Dialer, Guest, Known, Seat, Set, Startup};
pub use fanout::Fanout;
pub use pool::{Checkout, Disposition, Lease, Options, ServerPool, Snapshot, Ticket};
