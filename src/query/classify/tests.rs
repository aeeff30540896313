//! Floor 1. A table of texts.
