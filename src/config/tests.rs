//! Floor 0. Tests of the configuration: what each source gives, and that every bad input names its remedy.

use std::time::Duration;

use super::*;

mod urls;

const URL: &str = "postgres://app:secret@db:5432/app";

fn load(text: &str) -> crate::error::Result<Config> {
    let file = File { name: "pgdial.toml", text };
    Config::load(Some(file), None, [("DATABASE_URL".to_owned(), URL.to_owned())])
}

fn good(text: &str) -> Config {
    load(text).unwrap_or_else(|error| panic!("{error}\nin\n{text}"))
}

fn bad(text: &str) -> String {
    match load(text) {
        Ok(_) => panic!("accepted:\n{text}"),
        Err(error) => error.message().to_owned(),
    }
}

fn with_env(text: &str, env: &[(&str, &str)]) -> crate::error::Result<Config> {
    let file = File { name: "pgdial.toml", text };
    Config::load(Some(file), None, env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
}

#[test]
fn without_a_file_the_defaults_are_those_of_the_design() {
    let config = Config::load(None, Some(URL), []).unwrap();
    assert_eq!(config.listen.address, Some("127.0.0.1:6432".parse().unwrap()));
    assert_eq!(config.listen.max_clients, 10_000);
    assert_eq!(config.listen.login_timeout, Duration::from_secs(15));
    assert_eq!(config.auth.method, AuthMethod::ScramSha256);
    assert_eq!(config.auth.console_users, ["app"]);
    assert_eq!((config.pool.mode, config.pool.size, config.pool.min_idle), (PoolMode::Transaction, 20, 2));
    assert_eq!(config.pool.idle_timeout, Duration::from_secs(600));
    assert_eq!(config.pool.max_lifetime, Duration::from_secs(3600));
    assert_eq!((config.cache.mode, config.cache.memory), (CacheMode::Off, 256 << 20));
    assert_eq!(config.cache.default_ttl, None);
    assert_eq!(config.admin.address, Some("127.0.0.1:6433".parse().unwrap()));
    assert_eq!(config.log.slow_query, Duration::from_millis(500));
    assert_eq!(config.databases.len(), 1);
    assert_eq!(config.unsupported(), Vec::<String>::new());
}

#[test]
fn the_upstreams_own_user_may_log_in_to_its_own_database() {
    let config = good("[[database]]\nname = 'other'\nurl = 'postgres://bob:b@db2/x'\n[[user]]\nname = 'eve'\npassword = 'e'\n");
    assert_eq!(config.user("app", "app").unwrap().password.as_ref().unwrap().expose(), "secret");
    assert_eq!(config.user("other", "bob").unwrap().password.as_ref().unwrap().expose(), "b");
    assert!(config.user("other", "app").is_none());
    assert!(config.user(CONSOLE, "app").is_some());
    assert!(config.user("app", "eve").is_some() && config.user("other", "eve").is_some());
    assert_eq!(config.database("other").unwrap().upstream.database, "x");
}

#[test]
fn a_later_source_wins() {
    let file = "[pool]\nsize = 30\n[upstream]\nurl = 'postgres://file:f@file/f'\n";
    let env = [("PGDIAL_POOL_SIZE", "40"), ("DATABASE_URL", URL)];
    let config = with_env(file, &env).unwrap();
    assert_eq!(config.pool.size, 40);
    assert_eq!(config.databases[0].name, "f", "DATABASE_URL stands behind the file");
    let config = with_env(file, &[("PGDIAL_UPSTREAM_URL", URL), ("PGDIAL_CACHE_DEFAULT_TTL", "5s")]).unwrap();
    assert_eq!(config.databases[0].name, "app");
    assert_eq!(config.cache.default_ttl, Some(Ttl::For(Duration::from_secs(5))));
    let config = Config::load(None, Some(URL), [("DATABASE_URL".into(), "postgres://x:y@z/w".into())]).unwrap();
    assert_eq!(config.databases[0].name, "app", "the command line goes before the environment");
}

#[test]
fn bad_variables_are_named_with_their_remedy() {
    let table = [
        ("PGDIAL_POOL_SIZ", "4", "environment: PGDIAL_POOL_SIZ is not a setting; the nearest is PGDIAL_POOL_SIZE"),
        (
            "PGDIAL_POOL_SIZE",
            "many",
            "environment PGDIAL_POOL_SIZE: pool.size = \"many\": must be a whole number; the default is 20",
        ),
        ("PGDIAL_POOL_SIZE", "0", "environment PGDIAL_POOL_SIZE: pool.size = 0: must be from 1 to 10000"),
        (
            "PGDIAL_PLANS_GUARD",
            "yes",
            "environment PGDIAL_PLANS_GUARD: plans.guard = \"yes\": must be true or false; the default is true",
        ),
        ("PGDIAL_DATABASE_NAME", "x", "PGDIAL_DATABASE_NAME is not a setting"),
    ];
    for (name, value, expected) in table {
        let error = with_env("", &[(name, value), ("DATABASE_URL", URL)]).unwrap_err();
        assert!(error.message().contains(expected), "{name}={value}: {}", error.message());
    }
}

#[test]
fn variables_of_the_surroundings_are_left_alone() {
    let env =
        [("PGDIAL_SERVICE_HOST", "10.0.0.1"), ("PGDIAL_PORT", "tcp://10.0.0.1:6432"), ("PATH", "/bin"), ("DATABASE_URL", URL)];
    assert!(with_env("", &env).is_ok());
}

/// A file, and what must be said about it.
const BAD: &[(&str, &str)] = &[
    ("size = 3", "pgdial.toml line 1: size: size is not a section or top-level key; the nearest is pool.size"),
    ("[pool]\n\nsiez = 3", "pgdial.toml line 3: pool.siez: siez is not a key of [pool]; the nearest is pool.size"),
    ("[listen]\nquery_timeout = '1s'", "the nearest is pool.query_timeout"),
    (
        "[[cache.rule]]\ntable = ['a']\nttl = '1s'",
        "line 2: cache.rule[0].table: table is not a key of [cache.rule[0]]; the nearest is cache.rule[0].tables",
    ),
    ("[pool", "pgdial.toml line 1: not TOML"),
    ("pool = 3", "line 1: pool: must be a section, written [...]"),
    ("[pool]\nsize = '3'", "line 2: pool.size: must be a whole number; the default is 20"),
    ("[pool]\nmode = 3", "line 2: pool.mode: must be a text in quotes; the default is \"transaction\""),
    ("[cache]\nrule = 3", "cache.rule: must be an array of tables, written [[...]]"),
    ("[auth]\nconsole_users = 'a'", "must be a list of texts"),
    ("[pool]\nsize = 0", "line 2: pool.size = 0: must be from 1 to 10000"),
    ("[pool]\nmin_idle = 30", "line 2: pool.min_idle = 30: must not exceed pool.size, which is 20"),
    (
        "[pool]\nmode = 'transactions'",
        "pool.mode = \"transactions\": use one of transaction, session, statement; did you mean transaction?",
    ),
    ("[pool]\nconnect_timeout = '0s'", "pool.connect_timeout = \"0s\": must be more than zero"),
    ("[pool]\nidle_timeout = '5'", "pool.idle_timeout = \"5\": use a number with its unit"),
    ("[pool]\nmax_pinned = 2", "pool.max_pinned = 2.0: must be a share from 0.0 to 1.0"),
    ("[cache]\nmemory = 'lots'", "cache.memory = \"lots\": use a number with its unit"),
    ("[cache]\nmemory = '1KiB'", "cache.max_result = 1048576: must not exceed cache.memory, which is 1024"),
    ("[listen]\naddress = 'localhost:6432'", "use an IP address and a port, such as \"127.0.0.1:6432\""),
    ("[listen]\naddress = '*:6432'", "every IPv4 address is 0.0.0.0"),
    ("[listen]\naddress = '127.0.0.1'", "the port is missing"),
    ("[listen]\naddress = ''", "nowhere to listen"),
    ("[listen]\ntls = 'verify-full'", "use one of disable, prefer, require, verify-ca; did you mean verify-ca?"),
    ("[listen]\ntls = 'require'", "name the files in tls_cert and tls_key"),
    ("[listen]\ntls_cert = 'a.pem'", "name the file with its private key"),
    ("[listen]\ntls_key = 'a.pem'", "name the file with its certificate"),
    ("[admin]\naddress = '127.0.0.1:6432'", "line 2: admin.address: is that of [listen]: give it another port"),
    ("[upstream]\nurl = 'postgres://app:secret@localhost:6432/app'", "points at pgdial itself"),
    ("[upstream]\nurl = 'mysql://app:secret@db/app'", "upstream.url = \"mysql://***@db/app\": use the form postgres://"),
    ("[upstream]\nurl = 'postgres://app@db/app'", "nobody can log in: put it into the upstream URL"),
    ("[invalidation]\nnotify = ''", "a channel's name has 1 to 63 bytes"),
    ("[[cache.rule]]\nttl = '5m'", "name either tables"),
    ("[[cache.rule]]\ntables = ['a']", "give it a ttl"),
    ("[[cache.rule]]\ntables = ['a b']\nttl = '1s'", "cache.rule[0].tables = \"a b\": use a name as in SQL"),
    (
        "[[cache.rule]]\ntables = ['a']\nttl = 'always'",
        "cache.rule[0].ttl = \"always\": use a number with its unit, such as \"500ms\", \"5s\", \"10m\" or \"1h\", or \"forever\"",
    ),
    ("[[cache.rule]]\ntables = ['a', 'A']\nttl = '1s'", "a has a rule already: keep one of them"),
    ("[[database]]\nname = 'app'\nurl = 'postgres://a:b@c/d'", "there is a database \"app\" already"),
    ("[[database]]\nname = 'pgdial'\nurl = 'postgres://a:b@c/d'", "pgdial is the console's name"),
    ("[[user]]\npassword = 'x'", "user[0]: give it a name"),
    ("[[user]]\nname = 'a'\n[[user]]\nname = 'a'", "there is a user \"a\" already"),
    ("[[user]]\nname = 'a'\npassword = 'SCRAM-SHA-256$4096:salt'", "user[0].password = \"***\": copy the verifier whole"),
    ("[[user]]\nname = 'a'\npassword = 'md5900150983cd24fb0d6963f7d28e17f72'", "is an md5 hash"),
    (
        "[[auth.rule]]\naddress = '10.0.0.0/33'\nmethod = 'trust'",
        "auth.rule[0].address = \"10.0.0.0/33\": a range of this family has at most /32",
    ),
    ("[[auth.rule]]\naddress = '*'", "auth.rule[0].method = \"\": use one of trust, password"),
    ("[auth]\nmethod = 'cert'", "auth.method = \"cert\": needs the authority of the clients' certificates"),
    ("[[auth.rule]]\nmethod = 'peer'", "auth.rule[0].method = \"peer\": works over a Unix socket only"),
    ("[auth]\nquery = 'select 1'", "line 2: auth.query: the user's name is $1"),
    ("[auth]\nconsole_users = ['nobody']", "auth.console_users: there is no user \"nobody\""),
    ("[listen]\ntls_client_ca = 'ca.pem'", "clients show certificates over TLS only"),
    (
        "[[cache.rule]]\ntables = ['a']\nttl = '1s'\nrevalidate = true",
        "line 4: cache.rule[0].revalidate = true: not supported yet: leave it at false",
    ),
];

#[test]
fn every_bad_input_names_key_value_and_remedy() {
    for (text, expected) in BAD.iter().copied() {
        let message = bad(text);
        assert!(message.contains(expected), "{text}\n  said     {message}\n  expected {expected}");
        assert!(!message.contains("secret"), "a secret in: {message}");
    }
}

#[test]
fn all_complaints_come_at_once() {
    let message = bad("[pool]\nsize = 0\nmode = 'x'\n[log]\nlevel = 'loud'\n");
    assert_eq!(message.lines().count(), 3, "{message}");
}

#[test]
fn no_upstream_says_where_to_put_it() {
    let error = Config::load(None, None, []).unwrap_err();
    assert!(error.message().contains("set url in [upstream], or DATABASE_URL, or pass --upstream"));
}

#[test]
fn table_names_fold_as_in_sql() {
    let named = |schema: Option<&str>, name: &str| TableName::Named { schema: schema.map(Into::into), name: name.into() };
    let table = [
        ("*", Some(TableName::All)),
        ("Orders", Some(named(None, "orders"))),
        ("Public.\"Orders\"", Some(named(Some("public"), "Orders"))),
        ("\"a\"\"b\".c", Some(named(Some("a\"b"), "c"))),
        ("a.b.c", None),
        ("a.", None),
        ("\"a", None),
        ("\"\"", None),
        ("public.*", None),
        ("1a", None),
        ("", None),
    ];
    for (text, expected) in table {
        assert_eq!(value::table_name(text).ok(), expected, "{text}");
    }
    assert!(named(None, "orders").matches("any", "orders"));
    assert!(!named(Some("public"), "orders").matches("any", "orders"));
}

#[test]
fn auth_rules_match_first_to_last() {
    let rule = |address: &str, method| AuthRule {
        database: None,
        user: Some("a".into()),
        address: value::address_match(address).unwrap(),
        method,
    };
    let mut config = good("");
    config.auth.rules =
        vec![rule("unix", AuthMethod::Trust), rule("10.1.0.0/16", AuthMethod::Md5), rule("::1", AuthMethod::Password)];
    let method = |user: &str, peer: Option<&str>| config.auth_method("app", user, peer.map(|peer| peer.parse().unwrap()));
    assert_eq!(method("a", None), AuthMethod::Trust);
    assert_eq!(method("a", Some("10.1.2.3")), AuthMethod::Md5);
    assert_eq!(method("a", Some("::ffff:10.1.2.3")), AuthMethod::Md5);
    assert_eq!(method("a", Some("10.2.2.3")), AuthMethod::ScramSha256);
    assert_eq!(method("a", Some("::1")), AuthMethod::Password);
    assert_eq!(method("b", None), AuthMethod::ScramSha256);
    for (range, peer) in
        [("::ffff:10.0.0.0/104", "10.9.9.9"), ("::ffff:10.1.2.3", "::ffff:10.1.2.3"), ("::ffff:0:0/96", "8.8.8.8")]
    {
        assert!(value::address_match(range).unwrap().contains(Some(peer.parse().unwrap())), "{range}");
    }
    assert!(!value::address_match("::ffff:10.0.0.0/104").unwrap().contains(Some("11.0.0.1".parse().unwrap())));
    assert!(value::address_match("0.0.0.0/0").unwrap().contains(Some("8.8.8.8".parse().unwrap())));
}

#[test]
fn the_console_is_for_those_who_are_named() {
    let config = good("");
    assert!(may_use_console(&config, "app") && !may_use_console(&config, "eve"));
    let config = good("[auth]\nconsole_users = ['eve']\n[[user]]\nname = 'eve'\npassword = 'e'\n");
    assert!(may_use_console(&config, "eve") && !may_use_console(&config, "app"));
}

#[test]
fn a_reload_says_what_changed_and_what_must_wait() {
    let old = good(
        "[pool]\ncheckout_timeout = '1s'\n[[cache.rule]]\ntables = ['*']\nttl = '1s'\n[[user]]\nname = 'a'\npassword = 'hunter1'\n",
    );
    let new = good(
        "[pool]\ncheckout_timeout = '2s'\nsize = 7\n[[cache.rule]]\ntables = ['*']\nttl = '5s'\n[listen]\naddress = '127.0.0.1:7000'\n[[user]]\nname = 'a'\npassword = 'hunter2'\n",
    );
    let changes = reload::diff(&old, &new);
    let lines: Vec<_> = changes.iter().map(|change| (change.key.as_str(), change.needs_restart)).collect();
    assert_eq!(
        lines,
        [
            // Rules are built into the caches.
            ("cache.rule[0].ttl", true),
            ("listen.address", true),
            ("pool.checkout_timeout", false),
            // Pools follow their new options.
            ("pool.size", false),
            ("user[0].password", false)
        ]
    );
    assert!(!format!("{changes:?}").contains("hunter"));
    assert_eq!(reload::diff(&new, &new), []);
}

#[test]
fn the_strictest_ttl_wins() {
    let (short, long) = (Ttl::For(Duration::from_secs(1)), Ttl::For(Duration::from_secs(2)));
    assert_eq!(short.min(long), short);
    assert_eq!(Ttl::Forever.min(long), long);
    assert_eq!(Ttl::Forever.min(Ttl::Forever), Ttl::Forever);
}

/// What the file says is still to come, by key; of `a | b (later) | c` the value too.
fn marked_as_later() -> (Vec<String>, Vec<(String, String)>) {
    let (mut keys, mut values, mut section) = (Vec::new(), Vec::new(), "");
    for line in include_str!("../../config/pgdial.toml").lines() {
        let code = line.strip_prefix('#').filter(|code| !code.starts_with(' ')).unwrap_or(line);
        if code.starts_with('[') {
            section = code.trim_matches(['[', ']']);
        }
        let Some((key, rest)) = code.split_once(" = ") else { continue };
        let (_, why) = rest.rsplit_once("# ").unwrap_or_default();
        let key = format!("{section}.{key}");
        match why.split_once(" (later)") {
            None if why.starts_with("(later)") => keys.push(key),
            None => {}
            Some((before, _)) => {
                let value = before.rsplit(' ').next().unwrap();
                values.push((key, value.to_owned()));
            }
        }
    }
    keys.sort();
    (keys, values)
}

#[test]
fn what_the_file_marks_as_later_is_refused_and_nothing_else() {
    let (keys, values) = marked_as_later();
    assert!(!keys.is_empty() && !values.is_empty());
    assert_eq!(keys, unsupported::KEYS, "(later) in config/pgdial.toml, and src/config/unsupported.rs");
    let refused: Vec<(&str, &str)> = values.iter().map(|(key, value)| (&**key, &**value)).collect();
    assert_eq!(refused, unsupported::VALUES, "the same of single values");
}
