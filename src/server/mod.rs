//! Floor 3. Connections to Postgres.

pub mod dial;
