//! Floor 3. Connections to Postgres.

pub mod janitor;
pub mod pool;
