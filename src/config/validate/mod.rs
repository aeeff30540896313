//! Floor 0. From the file as written to settings that are usable: each value read, then what must fit together.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use toml::Value;

use super::raw::Raw;
use super::settings::{Complaints, Flat};
use super::value::{self, Remedy, Ttl, Word};
use super::{Config, Secret};
use crate::error::{Error, Kind, Result};

mod databases;
mod sections;
mod whole;

/// Reads all sections; on any complaint there is no `Config`.
pub(super) fn config(raw: &Raw, flat: Flat, complaints: Complaints) -> Result<Config> {
    let mut check = Check { complaints };
    let listen = check.listen(&raw.listen);
    let mut auth = check.auth(&raw.auth);
    let pool = check.pool(&raw.pool);
    let plans = check.plans(&raw.plans);
    let cache = check.cache(&raw.cache);
    let databases = check.databases(raw, &pool, &plans, &cache);
    let users = check.users(raw, &databases);
    if auth.console_users.is_empty() {
        auth.console_users.extend(databases.first().map(|database| database.upstream.user.clone()));
    }
    let config = Config {
        listen,
        auth,
        pool,
        plans,
        cache,
        invalidation: check.invalidation(&raw.invalidation),
        admin: check.admin(&raw.admin),
        log: check.log(&raw.log),
        databases,
        users,
        flat: Secret::new(flat),
    };
    if check.complaints.error().is_none() {
        check.whole(&config);
    }
    match check.complaints.error() {
        None if config.databases.is_empty() => Err(Error::new(Kind::Internal, "a configuration without a database")),
        None => Ok(config),
        Some(error) => Err(error),
    }
}

/// Readers of single values: each gives some value and complains, so that all complaints come at once.
struct Check {
    complaints: Complaints,
}

impl Check {
    pub(super) fn read<T>(&mut self, key: &str, text: &str, parsed: std::result::Result<T, Remedy>) -> Option<T> {
        parsed.map_err(|remedy| self.complaints.add(key, &Value::String(text.to_owned()), &remedy)).ok()
    }

    pub(super) fn word<T: Word>(&mut self, key: &str, text: &str, allowed: &[T], fallback: T) -> T {
        self.read(key, text, value::word(text, allowed)).unwrap_or(fallback)
    }

    pub(super) fn any_word<T: Word>(&mut self, key: &str, text: &str, fallback: T) -> T {
        self.word(key, text, T::all(), fallback)
    }

    pub(super) fn duration(&mut self, key: &str, text: &str) -> Duration {
        self.read(key, text, value::duration(text)).unwrap_or_default()
    }

    /// Zero would mean "at once", which nobody wants here.
    pub(super) fn positive(&mut self, key: &str, text: &str) -> Duration {
        let parsed = value::duration(text).and_then(|duration| match duration.is_zero() {
            true => Err("must be more than zero, such as \"1s\"".to_owned()),
            false => Ok(duration),
        });
        self.read(key, text, parsed).unwrap_or_default()
    }

    pub(super) fn ttl(&mut self, key: &str, text: &str) -> Ttl {
        self.read(key, text, value::ttl(text)).unwrap_or(Ttl::For(Duration::ZERO))
    }

    pub(super) fn size(&mut self, key: &str, text: &str) -> u64 {
        self.read(key, text, value::size(text)).unwrap_or_default()
    }

    pub(super) fn count(&mut self, key: &str, number: i64, range: RangeInclusive<i64>) -> usize {
        match usize::try_from(number) {
            Ok(count) if range.contains(&number) => count,
            _ => {
                let remedy = format!("must be from {} to {}", range.start(), range.end());
                self.complaints.add(key, &Value::Integer(number), &remedy);
                0
            }
        }
    }

    pub(super) fn share(&mut self, key: &str, number: f64) -> f64 {
        if !(0.0..=1.0).contains(&number) {
            self.complaints.add(key, &Value::Float(number), "must be a share from 0.0 to 1.0");
        }
        number
    }
}

fn optional(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

fn path(text: &str) -> Option<PathBuf> {
    optional(text).map(PathBuf::from)
}
