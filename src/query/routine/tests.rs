//! Floor 1. What is found in bodies, and how far it spreads.
