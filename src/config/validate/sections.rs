//! Floor 0. Each section, value by value.

use std::time::Duration;

use toml::Value;

use super::super::mode::{
    AuthMethod, CacheMode, Currval, Feed, Freshness, IdleOrder, LogFormat, LogLevel, PlansMode, PoolMode, TlsMode,
};
use super::super::raw;
use super::super::value::{self, AddressMatch, Ttl};
use super::super::{Admin, Auth, AuthRule, Cache, Invalidation, Listen, Log, Plans, Pool, Rule, Secret};
use super::{Check, optional, path};

impl Check {
    pub(super) fn listen(&mut self, raw: &raw::Listen) -> Listen {
        let tls = [TlsMode::Disable, TlsMode::Prefer, TlsMode::Require, TlsMode::VerifyCa];
        let address = optional(&raw.address)
            .and_then(|text| self.read("listen.address", text, value::socket_address(text, "127.0.0.1:6432")));
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

    pub(super) fn auth(&mut self, raw: &raw::Auth) -> Auth {
        let rules = raw.rule.iter().enumerate().map(|(nth, rule)| self.auth_rule(&format!("auth.rule[{nth}]"), rule));
        let rules = rules.collect();
        Auth {
            method: self.any_word("auth.method", &raw.method, AuthMethod::ScramSha256),
            query: optional(&raw.query).map(str::to_owned),
            console_users: raw.console_users.clone(),
            rules,
        }
    }

    pub(super) fn auth_rule(&mut self, key: &str, raw: &raw::AuthRule) -> AuthRule {
        let one = |text: &str| (text != "*").then(|| text.to_owned());
        let address = value::address_match(&raw.address);
        AuthRule {
            database: one(&raw.database),
            user: one(&raw.user),
            address: self.read(&format!("{key}.address"), &raw.address, address).unwrap_or(AddressMatch::Any),
            method: self.any_word(&format!("{key}.method"), &raw.method, AuthMethod::ScramSha256),
        }
    }

    pub(super) fn pool(&mut self, raw: &raw::Pool) -> Pool {
        Pool {
            mode: self.any_word("pool.mode", &raw.mode, PoolMode::Transaction),
            size: self.count("pool.size", raw.size, 1..=10_000),
            min_idle: self.count("pool.min_idle", raw.min_idle, 0..=10_000),
            order: self.any_word("pool.order", &raw.order, IdleOrder::Lifo),
            checkout_timeout: self.duration("pool.checkout_timeout", &raw.checkout_timeout),
            connect_timeout: self.positive("pool.connect_timeout", &raw.connect_timeout),
            idle_timeout: self.duration("pool.idle_timeout", &raw.idle_timeout),
            max_lifetime: self.duration("pool.max_lifetime", &raw.max_lifetime),
            check_delay: self.duration("pool.check_delay", &raw.check_delay),
            query_timeout: self.duration("pool.query_timeout", &raw.query_timeout),
            idle_in_transaction_timeout: self.duration("pool.idle_in_transaction_timeout", &raw.idle_in_transaction_timeout),
            max_pinned: self.share("pool.max_pinned", raw.max_pinned),
            currval: self.any_word("pool.currval", &raw.currval, Currval::Auto),
            startup_sets: self.count("pool.startup_sets", raw.startup_sets, 1..=1000),
        }
    }

    pub(super) fn plans(&mut self, raw: &raw::Plans) -> Plans {
        Plans {
            mode: self.any_word("plans.mode", &raw.mode, PlansMode::Auto),
            per_server: self.count("plans.per_server", raw.per_server, 1..=100_000),
            guard: raw.guard,
            keep_comments: raw.keep_comments,
        }
    }

    pub(super) fn cache(&mut self, raw: &raw::Cache) -> Cache {
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

    pub(super) fn rule(&mut self, key: &str, raw: &raw::CacheRule) -> Rule {
        if raw.tables.is_empty() == raw.shape.is_empty() {
            let text = format!("{key}: name either tables, such as tables = [\"public.products\"], or match = \"...\"");
            self.complaints.about(key, &text);
        }
        if raw.ttl.is_empty() {
            self.complaints.about(key, &format!("{key}: give it a ttl, such as ttl = \"5m\" or ttl = \"forever\""));
        }
        let tables = raw.tables.iter().filter_map(|text| self.read(&format!("{key}.tables"), text, value::table_name(text)));
        let tables = tables.collect();
        let mut optional_ttl = |name: &str, text: &str| optional(text).map(|text| self.ttl(&format!("{key}.{name}"), text));
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
            freshness: self.any_word(&format!("{key}.freshness"), &raw.freshness, Freshness::Strict),
        }
    }

    pub(super) fn invalidation(&mut self, raw: &raw::Invalidation) -> Invalidation {
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

    pub(super) fn admin(&mut self, raw: &raw::Admin) -> Admin {
        let address = optional(&raw.address)
            .and_then(|text| self.read("admin.address", text, value::socket_address(text, "127.0.0.1:6433")));
        Admin { address, token: optional(&raw.token).map(|token| Secret::new(token.to_owned())) }
    }

    pub(super) fn log(&mut self, raw: &raw::Log) -> Log {
        Log {
            level: self.any_word("log.level", &raw.level, LogLevel::Info),
            format: self.any_word("log.format", &raw.format, LogFormat::Text),
            slow_query: self.duration("log.slow_query", &raw.slow_query),
        }
    }
}
