//! Floor 3. Connections to Postgres.
