//! Floor 4. Connections from applications.

pub mod login;
