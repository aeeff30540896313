//! Floor 1. Sizes, limits and queues of a pool.
