//! Floor 5. Arguments to config to app to exit code.

fn main() {}
