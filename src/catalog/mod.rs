//! Floor 3. What Postgres says of its tables.
