//! Floor 2. One client connection, without IO.
