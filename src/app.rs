//! Floor 5. Wiring and drain.

use crate::config::Config;
use crate::error::{Error, Kind, Result};
use crate::source::Source;

/// Serves until told to stop. `source` is where a reload reads the configuration again.
pub async fn run(config: Config, source: Source) -> Result<()> {
    drop((config, source));
    Err(Error::new(
        Kind::Unsupported,
        "this branch holds only the configuration",
    ))
}
