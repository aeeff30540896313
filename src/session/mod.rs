//! Floor 1. What has this client established?
