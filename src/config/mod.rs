//! Floor 0. The config file: raw, validated, reloaded.
