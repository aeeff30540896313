//! Floor 3. Sockets and TLS.
