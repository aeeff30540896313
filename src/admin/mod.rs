//! Floor 3. Stats endpoint, console, dashboard.
