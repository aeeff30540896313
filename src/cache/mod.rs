//! Floor 1. Results: key, store, versions, flight, policy.
