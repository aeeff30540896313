//! Floor 1. Password methods as step machines.
