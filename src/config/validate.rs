//! Floor 0. From the file as written to settings that are usable: each value read, then what must fit together.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use toml::Value;

use super::mode::{AuthMethod, CacheMode, Feed, PlansMode, TlsMode};
use super::raw::{self, Raw};
use super::settings::{Complaints, Flat};
use super::upstream::{Host, Upstream};
use super::value::{self, AddressMatch, Remedy, TableName, Ttl, Word};
use super::{
    Admin, Auth, AuthRule, CONSOLE, Cache, Config, Database, Invalidation, Listen, Log, Plans, Pool, Rule, Secret, User,
};
use crate::error::{Error, Kind, Result};

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
    fn read<T>(&mut self, key: &str, text: &str, parsed: std::result::Result<T, Remedy>) -> Option<T> {
        parsed.map_err(|remedy| self.complaints.add(key, &Value::String(text.to_owned()), &remedy)).ok()
    }

    fn word<T: Word>(&mut self, key: &str, text: &str, allowed: &[T], fallback: T) -> T {
        self.read(key, text, value::word(text, allowed)).unwrap_or(fallback)
    }

    fn any_word<T: Word>(&mut self, key: &str, text: &str, fallback: T) -> T {
        self.word(key, text, T::all(), fallback)
    }

    fn duration(&mut self, key: &str, text: &str) -> Duration {
        self.read(key, text, value::duration(text)).unwrap_or_default()
    }

    /// Zero would mean "at once", which nobody wants here.
    fn positive(&mut self, key: &str, text: &str) -> Duration {
        let parsed = value::duration(text).and_then(|duration| match duration.is_zero() {
            true => Err("must be more than zero, such as \"1s\"".to_owned()),
            false => Ok(duration),
        });
        self.read(key, text, parsed).unwrap_or_default()
    }

    fn ttl(&mut self, key: &str, text: &str) -> Ttl {
        self.read(key, text, value::ttl(text)).unwrap_or(Ttl::For(Duration::ZERO))
    }

    fn size(&mut self, key: &str, text: &str) -> u64 {
        self.read(key, text, value::size(text)).unwrap_or_default()
    }

    fn count(&mut self, key: &str, number: i64, range: RangeInclusive<i64>) -> usize {
        match usize::try_from(number) {
            Ok(count) if range.contains(&number) => count,
            _ => {
                let remedy = format!("must be from {} to {}", range.start(), range.end());
                self.complaints.add(key, &Value::Integer(number), &remedy);
                0
            }
        }
    }

    fn share(&mut self, key: &str, number: f64) -> f64 {
        if !(0.0..=1.0).contains(&number) {
            self.complaints.add(key, &Value::Float(number), "must be a share from 0.0 to 1.0");
        }
        number
    }

    fn listen(&mut self, raw: &raw::Listen) -> Listen {
        let tls = [TlsMode::Disable, TlsMode::Prefer, TlsMode::Require, TlsMode::VerifyCa];
        let address = optional(&raw.address).and_then(|text| {
            self.read("listen.address", text, value::socket_address(text, "127.0.0.1:6432"))
        });
        Listen {
            address,
            unix_socket_dir: path(&raw.unix_socket_dir),
            tls: self.word("listen.tls", &raw.tls, &tls, TlsMode::Prefer),
            tls_cert: path(&raw.tls_cert),
            tls_key: path(&raw.tls_key),
            tls_client_ca: path(&raw.tls_client_ca),
            login_timeout: self.positive("listen.login_timeout", &raw.login_timeout),
            max_clients: self.count("listen.max_clients", raw.max_clients, 1..=1_000_000),
            client_idle_timeout: self.duration("listen.client_idle_timeout", &raw.client_idle_timeout),
            tcp_keepalive: self.duration("listen.tcp_keepalive", &raw.tcp_keepalive),
        }
    }

    fn auth(&mut self, raw: &raw::Auth) -> Auth {
        let rules = raw.rule.iter().enumerate().map(|(nth, rule)| self.auth_rule(&format!("auth.rule[{nth}]"), rule));
        let rules = rules.collect();
        Auth {
            method: self.any_word("auth.method", &raw.method, AuthMethod::ScramSha256),
            query: optional(&raw.query).map(str::to_owned),
            console_users: raw.console_users.clone(),
            rules,
        }
    }

    fn auth_rule(&mut self, key: &str, raw: &raw::AuthRule) -> AuthRule {
        let one = |text: &str| (text != "*").then(|| text.to_owned());
        let address = value::address_match(&raw.address);
        AuthRule {
            database: one(&raw.database),
            user: one(&raw.user),
            address: self.read(&format!("{key}.address"), &raw.address, address).unwrap_or(AddressMatch::Any),
            method: self.any_word(&format!("{key}.method"), &raw.method, AuthMethod::ScramSha256),
        }
    }

    fn pool(&mut self, raw: &raw::Pool) -> Pool {
        Pool {
            mode: self.any_word("pool.mode", &raw.mode, super::PoolMode::Transaction),
            size: self.count("pool.size", raw.size, 1..=10_000),
            min_idle: self.count("pool.min_idle", raw.min_idle, 0..=10_000),
            order: self.any_word("pool.order", &raw.order, super::IdleOrder::Lifo),
            checkout_timeout: self.duration("pool.checkout_timeout", &raw.checkout_timeout),
            connect_timeout: self.positive("pool.connect_timeout", &raw.connect_timeout),
            idle_timeout: self.duration("pool.idle_timeout", &raw.idle_timeout),
            max_lifetime: self.duration("pool.max_lifetime", &raw.max_lifetime),
            check_delay: self.duration("pool.check_delay", &raw.check_delay),
            query_timeout: self.duration("pool.query_timeout", &raw.query_timeout),
            idle_in_transaction_timeout: self
                .duration("pool.idle_in_transaction_timeout", &raw.idle_in_transaction_timeout),
            max_pinned: self.share("pool.max_pinned", raw.max_pinned),
            currval: self.any_word("pool.currval", &raw.currval, super::Currval::Auto),
            startup_sets: self.count("pool.startup_sets", raw.startup_sets, 1..=1000),
        }
    }

    fn plans(&mut self, raw: &raw::Plans) -> Plans {
        Plans {
            mode: self.any_word("plans.mode", &raw.mode, PlansMode::Auto),
            per_server: self.count("plans.per_server", raw.per_server, 1..=100_000),
            guard: raw.guard,
            keep_comments: raw.keep_comments,
        }
    }

    fn cache(&mut self, raw: &raw::Cache) -> Cache {
        let default_ttl = self.ttl("cache.default.ttl", &raw.default.ttl);
        let rules = raw.rule.iter().enumerate().map(|(nth, rule)| self.rule(&format!("cache.rule[{nth}]"), rule));
        let rules = rules.collect();
        Cache {
            mode: self.any_word("cache.mode", &raw.mode, CacheMode::Off),
            memory: self.size("cache.memory", &raw.memory),
            max_result: self.size("cache.max_result", &raw.max_result),
            verify: self.share("cache.verify", raw.verify),
            default_ttl: (default_ttl != Ttl::For(Duration::ZERO)).then_some(default_ttl),
            rules,
        }
    }

    fn rule(&mut self, key: &str, raw: &raw::CacheRule) -> Rule {
        if raw.tables.is_empty() == raw.shape.is_empty() {
            let text = format!("{key}: name either tables, such as tables = [\"public.products\"], or match = \"...\"");
            self.complaints.about(key, &text);
        }
        if raw.ttl.is_empty() {
            self.complaints.about(key, &format!("{key}: give it a ttl, such as ttl = \"5m\" or ttl = \"forever\""));
        }
        let tables = raw.tables.iter().filter_map(|text| {
            self.read(&format!("{key}.tables"), text, value::table_name(text))
        });
        let tables = tables.collect();
        let mut optional_ttl = |name: &str, text: &str| {
            optional(text).map(|text| self.ttl(&format!("{key}.{name}"), text))
        };
        let ttl = optional_ttl("ttl", &raw.ttl).unwrap_or(Ttl::For(Duration::ZERO));
        let empty_ttl = optional_ttl("empty_ttl", &raw.empty_ttl);
        let swr = &raw.stale_while_revalidate;
        Rule {
            tables,
            shape: optional(&raw.shape).map(str::to_owned),
            ttl,
            stale_while_revalidate: self.duration(&format!("{key}.stale_while_revalidate"), swr),
            stale_if_error: self.duration(&format!("{key}.stale_if_error"), &raw.stale_if_error),
            revalidate: raw.revalidate,
            empty_ttl,
            tags: raw.tags.clone(),
            freshness: self.any_word(&format!("{key}.freshness"), &raw.freshness, super::Freshness::Strict),
        }
    }

    fn invalidation(&mut self, raw: &raw::Invalidation) -> Invalidation {
        let feed = self.any_word("invalidation.feed", &raw.feed, Feed::Notify);
        // NAMEDATALEN - 1; Postgres would cut a longer name and listen elsewhere.
        if feed == Feed::Notify && !(1..=63).contains(&raw.notify.len()) {
            let remedy = "a channel's name has 1 to 63 bytes; to do without, set feed = \"off\"";
            self.complaints.add("invalidation.notify", &Value::String(raw.notify.clone()), remedy);
        }
        Invalidation {
            feed,
            notify: raw.notify.clone(),
            max_lag: self.positive("invalidation.max_lag", &raw.max_lag),
            catalog_check: self.positive("invalidation.catalog_check", &raw.catalog_check),
        }
    }

    fn admin(&mut self, raw: &raw::Admin) -> Admin {
        let address = optional(&raw.address).and_then(|text| {
            self.read("admin.address", text, value::socket_address(text, "127.0.0.1:6433"))
        });
        Admin { address, token: optional(&raw.token).map(|token| Secret::new(token.to_owned())) }
    }

    fn log(&mut self, raw: &raw::Log) -> Log {
        Log {
            level: self.any_word("log.level", &raw.level, super::LogLevel::Info),
            format: self.any_word("log.format", &raw.format, super::LogFormat::Text),
            slow_query: self.duration("log.slow_query", &raw.slow_query),
        }
    }
}

/// Databases and users, which depend on other sections.
impl Check {
    fn databases(&mut self, raw: &Raw, pool: &Pool, plans: &Plans, cache: &Cache) -> Vec<Database> {
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
            let Some(upstream) = self.url(&format!("{key}.url"), &raw.url, tls, tls_ca.clone()) else { continue };
            let pool_size = match raw.pool_size {
                0 => pool.size,
                size => self.count(&format!("{key}.pool_size"), size, 1..=10_000),
            };
            databases.push(Database {
                name: optional(&raw.name).unwrap_or(&upstream.database).to_owned(),
                upstream,
                pool_size,
                plans: optional(&raw.plans)
                    .map_or(plans.mode, |text| self.any_word(&format!("{key}.plans"), text, plans.mode)),
                cache: optional(&raw.cache)
                    .map_or(cache.mode, |text| self.any_word(&format!("{key}.cache"), text, cache.mode)),
            });
        }
        databases
    }

    fn url(&mut self, key: &str, text: &str, tls: TlsMode, tls_ca: Option<PathBuf>) -> Option<Upstream> {
        self.read(key, text, Upstream::parse(text, tls, tls_ca))
    }

    fn users(&mut self, raw: &Raw, databases: &[Database]) -> Vec<User> {
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
        let Some(verifier) = password.strip_prefix("SCRAM-SHA-256$") else { return };
        let parts: Vec<_> = verifier.split([':', '$']).collect();
        let iterations = parts.first().and_then(|count| count.parse::<u32>().ok());
        if parts.len() != 4 || iterations.is_none_or(|count| count == 0) || parts.iter().any(|part| part.is_empty()) {
            let remedy = "copy the verifier whole from pg_authid.rolpassword: SCRAM-SHA-256$4096:salt$key:key";
            self.complaints.add(&format!("{key}.password"), &Value::String(password.to_owned()), remedy);
        }
    }
}

/// What must fit together.
impl Check {
    fn whole(&mut self, config: &Config) {
        self.listeners(config);
        self.limits(config);
        self.names(config);
        self.logins(config);
        for text in super::unsupported::list(config) {
            self.complaints.about(text.split(' ').next().unwrap_or(""), &text);
        }
    }

    fn listeners(&mut self, config: &Config) {
        let listen = &config.listen;
        let mut about = |key: &str, text: &str| self.complaints.about(key, &format!("{key}: {text}"));
        if listen.address.is_none() && listen.unix_socket_dir.is_none() {
            about("listen.address", "nowhere to listen: set an address such as \"127.0.0.1:6432\", or unix_socket_dir");
        }
        match (listen.tls, &listen.tls_cert, &listen.tls_key) {
            (_, Some(_), None) => about("listen.tls_key", "tls_cert is set: name the file with its private key as well"),
            (_, None, Some(_)) => about("listen.tls_cert", "tls_key is set: name the file with its certificate as well"),
            (TlsMode::Require | TlsMode::VerifyCa, None, None) => {
                about("listen.tls", "clients must use TLS, so name the files in tls_cert and tls_key");
            }
            _ => {}
        }
        if listen.tls == TlsMode::VerifyCa && listen.tls_client_ca.is_none() {
            about("listen.tls_client_ca", "tls = \"verify-ca\" needs the authority of the clients' certificates");
        }
        let clash = listen.address.zip(config.admin.address).is_some_and(|(a, b)| a == b && a.port() != 0);
        if clash {
            about("admin.address", "is that of [listen]: give it another port");
        }
        let own = listen.address.map(|address| address.port());
        for database in &config.databases {
            if let Host::Tcp { host, port } = &database.upstream.host
                && is_loopback(host)
                && own == Some(*port)
            {
                about("upstream.url", "points at pgdial itself: name the address of Postgres, or change [listen] address");
            }
        }
    }

    fn limits(&mut self, config: &Config) {
        let pool = &config.pool;
        if pool.min_idle > pool.size {
            let remedy = format!("must not exceed pool.size, which is {}", pool.size);
            let number = i64::try_from(pool.min_idle).unwrap_or(i64::MAX);
            self.complaints.add("pool.min_idle", &Value::Integer(number), &remedy);
        }
        let cache = &config.cache;
        if cache.max_result > cache.memory {
            let text = format!("cache.max_result = {}: must not exceed cache.memory, which is {}", cache.max_result, cache.memory);
            self.complaints.about("cache.max_result", &text);
        }
        if cache.mode == CacheMode::On && cache.memory == 0 {
            self.complaints.about("cache.memory", "cache.memory = 0: set a size, or mode = \"off\"");
        }
    }

    /// Two things of one name: which of them counts would be a guess.
    fn names(&mut self, config: &Config) {
        for (nth, database) in config.databases.iter().enumerate() {
            let key = if nth == 0 { "upstream.url".to_owned() } else { format!("database[{}]", nth - 1) };
            if database.name == CONSOLE {
                let text = format!("{key}: {CONSOLE} is the console's name: give the database another, as [[database]] name");
                self.complaints.about(&key, &text);
            }
            if config.databases.iter().take(nth).any(|other| other.name == database.name) {
                let text = format!("{key}: there is a database {:?} already: give this one another name", database.name);
                self.complaints.about(&key, &text);
            }
        }
        let named = config.users.iter().filter(|user| user.database.is_none()).enumerate();
        for (nth, user) in named {
            if config.users.iter().take(nth).any(|other| other.name == user.name) {
                let text = format!("user[{nth}]: there is a user {:?} already: keep one of them", user.name);
                self.complaints.about(&format!("user[{nth}]"), &text);
            }
        }
        let mut seen: Vec<&TableName> = Vec::new();
        for (nth, rule) in config.cache.rules.iter().enumerate() {
            for table in &rule.tables {
                if seen.contains(&table) {
                    let key = format!("cache.rule[{nth}].tables");
                    self.complaints.about(&key, &format!("{key}: {table} has a rule already: keep one of them"));
                }
                seen.push(table);
            }
        }
    }

    /// A method that no user can pass, seen now and not at the first login.
    fn logins(&mut self, config: &Config) {
        let auth = &config.auth;
        let needs_password = matches!(auth.method, AuthMethod::Password | AuthMethod::Md5 | AuthMethod::ScramSha256);
        if !needs_password || !auth.rules.is_empty() || auth.query.is_some() {
            return;
        }
        if config.users.iter().all(|user| user.password.is_none()) {
            let remedy = "no user has a password, so nobody can log in: put it into the upstream URL, \
                          add a [[user]], or set method = \"trust\"";
            let method = Value::String(auth.method.as_str().into());
            self.complaints.add("auth.method", &method, remedy);
        }
        for (nth, user) in config.users.iter().filter(|user| user.database.is_none()).enumerate() {
            let Some(password) = &user.password else { continue };
            let remedy = if auth.method == AuthMethod::Md5 && password.expose().starts_with("SCRAM-SHA-256$") {
                "is a SCRAM verifier, which auth.method = \"md5\" cannot use: use scram-sha-256"
            } else if auth.method == AuthMethod::ScramSha256 && is_md5(password.expose()) {
                "is an md5 hash, which auth.method = \"scram-sha-256\" cannot use: give the password or a SCRAM verifier"
            } else {
                continue;
            };
            let key = format!("user[{nth}].password");
            self.complaints.add(&key, &Value::String(password.expose().clone()), remedy);
        }
    }
}

fn is_md5(password: &str) -> bool {
    let digits = password.strip_prefix("md5").unwrap_or_default();
    digits.len() == 32 && digits.bytes().all(|digit| digit.is_ascii_hexdigit())
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn optional(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

fn path(text: &str) -> Option<PathBuf> {
    optional(text).map(PathBuf::from)
}
