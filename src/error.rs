//! Floor 0. Errors: kind, SQLSTATE, level, fate.
