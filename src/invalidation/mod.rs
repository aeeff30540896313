//! Floor 1. What a change means for the cache.
