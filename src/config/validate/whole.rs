//! Floor 0. What must fit together, looked at once every value is good by itself.

use std::net::IpAddr;

use toml::Value;

use super::super::mode::{AuthMethod, CacheMode, TlsMode};
use super::super::unsupported;
use super::super::upstream::Host;
use super::super::value::TableName;
use super::super::{CONSOLE, Config};
use super::Check;

impl Check {
    pub(super) fn whole(&mut self, config: &Config) {
        self.listeners(config);
        self.limits(config);
        self.names(config);
        self.logins(config);
        self.methods(config);
        self.console(config);
        for text in unsupported::list(config) {
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
        if listen.tls_client_ca.is_some() && (listen.tls_cert.is_none() || listen.tls == TlsMode::Disable) {
            about(
                "listen.tls_client_ca",
                "clients show certificates over TLS only: set tls_cert and tls_key, and tls other than disable",
            );
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
            let text =
                format!("cache.max_result = {}: must not exceed cache.memory, which is {}", cache.max_result, cache.memory);
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

    /// A method that the listeners cannot serve.
    fn methods(&mut self, config: &Config) {
        let rules = config.auth.rules.iter().enumerate().map(|(nth, rule)| (format!("auth.rule[{nth}].method"), rule.method));
        for (key, method) in std::iter::once(("auth.method".to_owned(), config.auth.method)).chain(rules) {
            let remedy = match method {
                AuthMethod::Cert if config.listen.tls_client_ca.is_none() => {
                    "needs the authority of the clients' certificates: set tls_client_ca in [listen]"
                }
                AuthMethod::Peer if config.listen.unix_socket_dir.is_none() => {
                    "works over a Unix socket only: set unix_socket_dir in [listen]"
                }
                AuthMethod::Cert
                | AuthMethod::Peer
                | AuthMethod::Trust
                | AuthMethod::Password
                | AuthMethod::Md5
                | AuthMethod::ScramSha256
                | AuthMethod::Reject => continue,
            };
            self.complaints.add(&key, &Value::String(method.as_str().into()), remedy);
        }
        if config.auth.query.as_ref().is_some_and(|query| !query.contains("$1")) {
            let remedy = "auth.query: the user's name is $1: SELECT usename, passwd, valuntil FROM pg_shadow WHERE usename = $1";
            self.complaints.about("auth.query", remedy);
        }
    }

    /// A name that nobody can log in by is a typing error.
    fn console(&mut self, config: &Config) {
        for name in &config.auth.console_users {
            if config.auth.query.is_none() && config.users.iter().all(|user| user.name != *name) {
                let text =
                    format!("auth.console_users: there is no user {name:?}: name those of [[user]] and of the upstream URLs");
                self.complaints.about("auth.console_users", &text);
            }
        }
    }

    /// A method that no user can pass, seen now and not at the first login.
    fn logins(&mut self, config: &Config) {
        let auth = &config.auth;
        let needs_password = AuthMethod::needs_password(auth.method);
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
            let Some(password) = &user.password else {
                continue;
            };
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
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}
