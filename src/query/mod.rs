//! Floor 1. What does this SQL do?
