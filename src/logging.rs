//! Floor 5. Where log lines go, and which of them.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

use pgdial::config::{Log, LogFormat};

/// Once per process, before anything logs. `RUST_LOG` goes before `[log] level`; a filter in it that cannot be
/// read is said so, and the level counts.
pub(crate) fn start(log: &Log, rust_log: Option<&str>) {
    let level = || EnvFilter::new(log.level.as_str());
    let (filter, complaint) = match rust_log.filter(|text| !text.is_empty()) {
        Some(text) => match EnvFilter::try_new(text) {
            Ok(filter) => (filter, None),
            Err(error) => (level(), Some(error)),
        },
        None => (level(), None),
    };
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    match log.format {
        LogFormat::Text => lines.with_ansi(io::stderr().is_terminal()).init(),
        LogFormat::Json => lines.json().flatten_event(true).init(),
    }
    if let Some(error) = complaint {
        tracing::warn!(%error, "RUST_LOG is not a filter; [log] level counts");
    }
}
