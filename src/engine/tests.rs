//! Floor 2. Engines against scripted servers.
