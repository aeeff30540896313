//! Floor 5. Wiring and drain.
