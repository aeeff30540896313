//! Floor 5. Where the configuration is read from, at start and again at each reload.

use std::path::{Path, PathBuf};

use crate::config::{Config, File};
use crate::error::{Error, Kind, Result};

/// What the command line named; the environment is read anew each time.
#[derive(Clone, Debug, Default)]
pub struct Source {
    /// `--config`
    pub file: Option<PathBuf>,
    /// `--upstream`
    pub upstream: Option<String>,
}

impl Source {
    /// Reads and validates. Blocks on one small file, therefore not for the serving path.
    pub fn load(&self) -> Result<Config> {
        let name = self.file.as_deref().map(Path::to_string_lossy);
        let text = self.file.as_deref().map(read).transpose()?;
        let file = name.as_deref().zip(text.as_deref());
        // A variable that is not UTF-8 cannot be one of ours.
        let text =
            |(name, value): (std::ffi::OsString, std::ffi::OsString)| Some((name.into_string().ok()?, value.into_string().ok()?));
        let env = std::env::vars_os().filter_map(text);
        Config::load(file.map(|(name, text)| File { name, text }), self.upstream.as_deref(), env)
    }
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path)
        .map_err(|error| Error::new(Kind::Config, format!("{}: cannot be read: {error}", path.display())))
}
