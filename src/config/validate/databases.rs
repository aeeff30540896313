//! Floor 0. Databases and users, which depend on other sections.

use std::path::PathBuf;

use toml::Value;

use super::super::mode::TlsMode;
use super::super::raw::Raw;
use super::super::upstream::Upstream;
use super::super::{Cache, Database, Plans, Pool, Secret, User};
use super::{Check, optional, path};

impl Check {
    pub(super) fn databases(&mut self, raw: &Raw, pool: &Pool, plans: &Plans, cache: &Cache) -> Vec<Database> {
        let tls = self.any_word("upstream.tls", &raw.upstream.tls, TlsMode::Prefer);
        let tls_ca = path(&raw.upstream.tls_ca);
        let mut databases = Vec::with_capacity(1 + raw.database.len());
        if raw.upstream.url.is_empty() {
            let remedy = "no upstream: set url in [upstream], or DATABASE_URL, or pass --upstream, \
                          as postgres://user:password@host:5432/database";
            self.complaints.about("upstream.url", remedy);
        } else if let Some(upstream) = self.url("upstream.url", &raw.upstream.url, tls, tls_ca.clone()) {
            let name = upstream.database.clone();
            let (plans, cache) = (plans.mode, cache.mode);
            databases.push(Database { name, upstream, pool_size: pool.size, plans, cache });
        }
        for (nth, raw) in raw.database.iter().enumerate() {
            let key = format!("database[{nth}]");
            let Some(upstream) = self.url(&format!("{key}.url"), &raw.url, tls, tls_ca.clone()) else {
                continue;
            };
            let pool_size = match raw.pool_size {
                0 => pool.size,
                size => self.count(&format!("{key}.pool_size"), size, 1..=10_000),
            };
            databases.push(Database {
                name: optional(&raw.name).unwrap_or(&upstream.database).to_owned(),
                upstream,
                pool_size,
                plans: optional(&raw.plans).map_or(plans.mode, |text| self.any_word(&format!("{key}.plans"), text, plans.mode)),
                cache: optional(&raw.cache).map_or(cache.mode, |text| self.any_word(&format!("{key}.cache"), text, cache.mode)),
            });
        }
        databases
    }

    fn url(&mut self, key: &str, text: &str, tls: TlsMode, tls_ca: Option<PathBuf>) -> Option<Upstream> {
        self.read(key, text, Upstream::parse(text, tls, tls_ca))
    }

    pub(super) fn users(&mut self, raw: &Raw, databases: &[Database]) -> Vec<User> {
        let mut users = Vec::with_capacity(raw.user.len() + databases.len());
        for (nth, raw) in raw.user.iter().enumerate() {
            let key = format!("user[{nth}]");
            self.password(&key, &raw.password);
            if raw.name.is_empty() {
                self.complaints.about(&key, &format!("{key}: give it a name, the role that logs in"));
            }
            users.push(User {
                name: raw.name.clone(),
                password: optional(&raw.password).map(|password| Secret::new(password.to_owned())),
                database: None,
                pool_size: self.override_count(&format!("{key}.pool_size"), raw.pool_size),
                max_clients: self.override_count(&format!("{key}.max_clients"), raw.max_clients),
            });
        }
        users.extend(databases.iter().map(|database| User {
            name: database.upstream.user.clone(),
            password: database.upstream.password.clone(),
            database: Some(database.name.clone()),
            pool_size: None,
            max_clients: None,
        }));
        users
    }

    fn override_count(&mut self, key: &str, number: i64) -> Option<usize> {
        (number != 0).then(|| self.count(key, number, 1..=1_000_000))
    }

    /// A verifier that cannot be read would fail at login, where nobody sees why.
    fn password(&mut self, key: &str, password: &str) {
        let Some(verifier) = password.strip_prefix("SCRAM-SHA-256$") else {
            return;
        };
        let parts: Vec<_> = verifier.split([':', '$']).collect();
        let iterations = parts.first().and_then(|count| count.parse::<u32>().ok());
        if parts.len() != 4 || iterations.is_none_or(|count| count == 0) || parts.iter().any(|part| part.is_empty()) {
            let remedy = "copy the verifier whole from pg_authid.rolpassword: SCRAM-SHA-256$4096:salt$key:key";
            self.complaints.add(&format!("{key}.password"), &Value::String(password.to_owned()), remedy);
        }
    }
}
