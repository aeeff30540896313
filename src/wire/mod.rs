//! Floor 0. Bytes to messages and back.
