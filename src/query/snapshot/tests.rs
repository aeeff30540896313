//! Floor 1. A small catalog.
