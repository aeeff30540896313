//! Floor 0. Tests of `postgres://` URLs.

use std::path::Path;

use super::super::upstream::redact;
use super::*;

fn upstream(url: &str) -> Result<Upstream, String> {
    Upstream::parse(url, TlsMode::Prefer, None)
}

#[test]
fn urls_are_read_as_libpq_reads_them() {
    let tcp = |host: &str, port| Host::Tcp { host: host.into(), port };
    let unix = |dir: &str, port| Host::Unix { dir: Path::new(dir).into(), port };
    let table = [
        ("postgres://u:p@h:1234/d", tcp("h", 1234), Some("p"), "d"),
        ("postgresql://u@h", tcp("h", 5432), None, "u"),
        ("postgres://u:@h:/", tcp("h", 5432), None, "u"),
        ("postgres://u:p%40%3A%2F+@h/d%20e", tcp("h", 5432), Some("p@:/+"), "d e"),
        ("postgres://u:p@[::1]:1/d", tcp("::1", 1), Some("p"), "d"),
        ("postgres://u:p@%2Fvar%2Frun/d", unix("/var/run", 5432), Some("p"), "d"),
        ("postgres://u:p@%2Ftmp:99/d", unix("/tmp", 99), Some("p"), "d"),
        ("postgres://u:p@/d?host=/tmp&port=99", unix("/tmp", 99), Some("p"), "d"),
        ("postgres:///d?host=/tmp&user=u", unix("/tmp", 5432), None, "d"),
        ("postgres://h?user=u&password=a%26b&dbname=d", tcp("h", 5432), Some("a&b"), "d"),
        ("postgres://u:a:b@h/d?channel_binding=prefer&gssencmode=disable", tcp("h", 5432), Some("a:b"), "d"),
    ];
    for (url, host, password, database) in table {
        let parsed = upstream(url).unwrap_or_else(|error| panic!("{url}: {error}"));
        assert_eq!(parsed.host, host, "{url}");
        assert_eq!(parsed.user, "u", "{url}");
        assert_eq!(parsed.password.as_ref().map(|password| password.expose().as_str()), password, "{url}");
        assert_eq!(parsed.database, database, "{url}");
    }
}

#[test]
fn a_urls_tls_parameters_go_before_the_section() {
    let file = "[upstream]\ntls = 'disable'\ntls_ca = 'ca.pem'\n";
    let load = |url: &str| with_env(file, &[("DATABASE_URL", url)]).unwrap().databases.remove(0).upstream;
    assert_eq!(load("postgres://u:p@h/d").tls, TlsMode::Disable);
    assert_eq!(load("postgres://u:p@h/d?sslmode=verify-full").tls, TlsMode::VerifyFull);
    assert_eq!(load("postgres://u:p@h/d").tls_ca.as_deref(), Some(Path::new("ca.pem")));
    assert_eq!(load("postgres://u:p@h/d?sslrootcert=x").tls_ca.as_deref(), Some(Path::new("x")));
    assert_eq!(load("postgres://u:p@h/d?sslmode=verify-full&sslrootcert=system").tls_ca, None);
}

#[test]
fn a_bad_url_names_its_remedy() {
    let table = [
        ("postgres://u:p@h1:1,h2:2/d", "one host only"),
        ("postgres://u:p@h1,h2/d", "one host only"),
        ("postgres://u:p@h/d?host=a,b", "one host only"),
        ("postgres://u:p@h:0/d", "from 1 to 65535"),
        ("postgres://u:p@h:99999/d", "from 1 to 65535"),
        ("postgres://u:p@x@h/d", "write an @ in the user or password as %40"),
        ("postgres://u:p/x@h/d", "in a password, write / as %2F"),
        ("postgres://u:p@::1/d", "an IPv6 address stands in brackets"),
        ("postgres://u:p@[::1/d", "an IPv6 address stands in brackets"),
        ("postgres://h/d", "name the user"),
        ("postgres://u:p@/d", "name the host"),
        ("postgres://u:%zz@h/d", "a % is written %25"),
        ("postgres://u:%00@h/d", "a % is written %25"),
        ("postgres://u:p@h/d?sslmode=on", "sslmode: use one of disable, allow"),
        ("postgres://u:p@h/d?sslrootcert=system", "needs sslmode=verify-full"),
        ("postgres://u:p@h/d?ssl_mode=require", "did you mean sslmode?"),
        ("postgres://u:p@h/d?channel_binding=always", "channel_binding: use one of disable, prefer, require"),
        ("postgres://u:p@h/d?channel_binding=require&sslmode=disable", "channel_binding=require needs TLS"),
        ("postgres://u:p@/d?host=/tmp&channel_binding=require", "channel_binding=require needs TLS"),
        ("postgres://u:p@h/d?application_name=x", "each client's own application_name is passed on"),
        ("postgres://u:p@h/d?connect_timeout=3", "[pool] connect_timeout"),
        ("postgres://u:p@h/d?sslmode", "write sslmode=value"),
    ];
    for (url, expected) in table {
        let remedy = upstream(url).err().unwrap_or_else(|| panic!("accepted {url}"));
        assert!(remedy.contains(expected), "{url}: {remedy}");
    }
}

#[test]
fn no_form_of_a_url_shows_its_password() {
    let table = [
        ("postgres://app:secret@db/app", "postgres://***@db/app"),
        ("postgres://app:se?cret@db/app", "postgres://***@db/app"),
        ("postgres://app:s@cret@db/app?sslmode=require", "postgres://***@db/app?sslmode=require"),
        ("postgres://db/app?password=secret&user=u", "postgres://db/app?***&user=u"),
        ("postgres://app:secret", "postgres://***"),
        ("app:secret@db", "***"),
        ("", ""),
    ];
    for (url, expected) in table {
        assert_eq!(redact(url), expected, "{url}");
    }
    let text = "[admin]\ntoken = 'hunter2'\n[[user]]\nname = 'a'\npassword = 'hunter2'\n";
    let config = good(text);
    let printed = format!("{config:?} {}", config.settings().map(|(key, value)| format!("{key}={value} ")).collect::<String>());
    assert!(!printed.contains("hunter2") && !printed.contains("secret"), "{printed}");
    assert!(printed.contains("user[0].password=\"***\"") && printed.contains("upstream.url=\"postgres://***@db:5432/app\""));
}
