//! Floor 1. Query shape to server-side statement.
