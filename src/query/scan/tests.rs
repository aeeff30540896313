//! Floor 1. The scanner against libpg_query's own.
