//! Floor 4. Connections from applications.
