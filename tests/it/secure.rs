//! Logins: SCRAM, md5 and cleartext on both sides, TLS on both sides, and what is refused.

use crate::support::pgdial::{Config, Pgdial};
use crate::support::postgres::Postgres;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A self-signed certificate for localhost, as files.
pub(crate) fn certificate(folder: &Path) -> (PathBuf, PathBuf) {
    let names = vec!["localhost".to_string(), "127.0.0.1".to_string()];
    let made = rcgen::generate_simple_self_signed(names).expect("a certificate can be made");
    let (cert, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    (cert, key)
}

/// psql through pgdial: libpq's own login.
pub(crate) fn psql(pgdial: &Pgdial, user: &str, password: &str, database: &str, options: &str) -> Output {
    let target = format!("host=127.0.0.1 port={} user={user} dbname={database} connect_timeout=10 {options}", pgdial.port());
    Command::new(Postgres::shared().bin("psql"))
        .args(["-XAtq", "-d", &target, "-c", "select 'served as ' || current_user"])
        .env("PGPASSWORD", password)
        .output()
        .expect("psql can be started")
}

pub(crate) fn succeeds(output: &Output, user: &str) {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), format!("served as {user}"));
}

pub(crate) fn fails(output: &Output, with: &str) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "let in");
    assert!(text.contains(with), "{text}");
}

/// pgdial in front of a fresh database, logging in there as a role that needs its password.
fn config(user: &str, method: &str) -> (Config, String) {
    let postgres = Postgres::shared();
    let database = postgres.database("secure");
    let url = format!("postgres://{user}:secret@127.0.0.1:{}/{database}", postgres.port());
    (Config::new(postgres, &database).pool(2).text("upstream", "url", &url).text("auth", "method", method), database)
}

#[test]
fn scram_on_both_sides() {
    let (config, database) = config("scram_app", "scram-sha-256");
    let pgdial = Pgdial::start(&config);
    succeeds(&psql(&pgdial, "scram_app", "secret", &database, ""), "scram_app");
    fails(&psql(&pgdial, "scram_app", "wrong", &database, ""), "password authentication failed");
    fails(&psql(&pgdial, "scram_app", "", &database, ""), "");
    fails(&psql(&pgdial, "nobody_here", "secret", &database, ""), "password authentication failed");
    fails(&psql(&pgdial, "scram_app", "secret", "no_such_database", ""), "no_such_database");
    assert!(!pgdial.log().contains("secret"), "the password is in the log");
}

/// What is typed and what Postgres stores are two spellings of one password: each side has to bring them together.
#[test]
fn passwords_beyond_ascii() {
    let postgres = Postgres::shared();
    let spellings = [
        // Composed and decomposed; a Roman numeral and what it stands for; a hyphen that does not break.
        ("p\u{e4}ssw\u{f6}rd\u{2011}\u{2168}", "pa\u{308}ssw\u{f6}rd\u{2010}IX"),
        // Prohibited, and so only equal to itself.
        ("\u{e000}\u{e4}\u{2168}", "\u{e000}\u{e4}\u{2168}"),
        ("\u{340}\u{2168}", "\u{340}\u{2168}"),
    ];
    for (at, (stored, typed)) in spellings.into_iter().enumerate() {
        let (user, database) = (format!("beyond_ascii_{at}"), postgres.database("secure"));
        postgres.sql("postgres", &format!("create role {user} login password '{stored}' in role scram_users"));
        let percent: String = typed.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let url = format!("postgres://{user}:{percent}@127.0.0.1:{}/{database}", postgres.port());
        let config = Config::new(postgres, &database).pool(2).text("upstream", "url", &url);
        let pgdial = Pgdial::start(&config.text("auth", "method", "scram-sha-256"));
        succeeds(&psql(&pgdial, &user, stored, &database, ""), &user);
        succeeds(&psql(&pgdial, &user, typed, &database, ""), &user);
        fails(&psql(&pgdial, &user, "passw\u{f6}rd", &database, ""), "password authentication failed");
    }
}

#[test]
fn md5_on_both_sides() {
    let (config, database) = config("md5_app", "md5");
    let pgdial = Pgdial::start(&config);
    succeeds(&psql(&pgdial, "md5_app", "secret", &database, ""), "md5_app");
    fails(&psql(&pgdial, "md5_app", "wrong", &database, ""), "password authentication failed");
}

#[test]
fn cleartext_on_both_sides() {
    let (config, database) = config("plain_app", "password");
    let pgdial = Pgdial::start(&config);
    succeeds(&psql(&pgdial, "plain_app", "secret", &database, ""), "plain_app");
    fails(&psql(&pgdial, "plain_app", "wrong", &database, ""), "password authentication failed");
}

#[test]
fn tls_towards_clients() {
    let (config, database) = config("scram_app", "scram-sha-256");
    let folder = crate::support::process::TempDir::new("tls");
    let (cert, key) = certificate(folder.path());
    let config = config.text("listen", "tls_cert", &cert.to_string_lossy()).text("listen", "tls_key", &key.to_string_lossy());
    let pgdial = Pgdial::start(&config.clone().text("listen", "tls", "require"));
    succeeds(&psql(&pgdial, "scram_app", "secret", &database, "sslmode=require"), "scram_app");
    let verified = format!("host=localhost hostaddr=127.0.0.1 sslmode=verify-full sslrootcert={}", cert.display());
    succeeds(&psql(&pgdial, "scram_app", "secret", &database, &verified), "scram_app");
    fails(&psql(&pgdial, "scram_app", "wrong", &database, "sslmode=require"), "password authentication failed");
    fails(&psql(&pgdial, "scram_app", "secret", &database, "sslmode=disable"), "encrypted");
    let pgdial = Pgdial::start(&config.text("listen", "tls", "prefer"));
    succeeds(&psql(&pgdial, "scram_app", "secret", &database, "sslmode=require"), "scram_app");
    succeeds(&psql(&pgdial, "scram_app", "secret", &database, "sslmode=disable"), "scram_app");
}

#[test]
fn tls_towards_postgres() {
    let folder = crate::support::process::TempDir::new("tls");
    let (cert, key) = certificate(folder.path());
    let postgres = Postgres::start();
    let database = postgres.database("tls");
    postgres.enable_tls(&cert, &key);
    let url = format!("postgres://tls_app:secret@localhost:{}/{database}", postgres.port());
    let config = Config::new(&postgres, &database).pool(2).text("upstream", "url", &url);
    for mode in ["require", "prefer", "verify-ca", "verify-full"] {
        let config = config.clone().text("upstream", "tls", mode).text("upstream", "tls_ca", &cert.to_string_lossy());
        let pgdial = Pgdial::start(&config);
        succeeds(&psql(&pgdial, "tls_app", "", &database, ""), "tls_app");
    }
    let pgdial = Pgdial::launch(&config.text("upstream", "tls", "disable"));
    crate::support::process::eventually("pgdial listens", crate::support::wire::PATIENCE, || {
        std::net::TcpStream::connect(pgdial.addr()).is_ok()
    });
    fails(&psql(&pgdial, "tls_app", "", &database, ""), "");
}

#[test]
fn postgres_over_its_unix_socket() {
    let postgres = Postgres::shared();
    let database = postgres.database("unix");
    let dir = postgres.dir().to_string_lossy().replace('/', "%2F");
    let url = format!("postgres://app@{dir}:{}/{database}", postgres.port());
    let pgdial = Pgdial::start(&Config::new(postgres, &database).pool(2).text("upstream", "url", &url));
    succeeds(&psql(&pgdial, "app", "", &database, ""), "app");
}
