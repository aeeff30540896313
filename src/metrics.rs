//! Floor 0. Every metric's name, once.
