//! Floor 5. Tests: realistic files of PgBouncer, and what becomes of them.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::*;
use crate::config::{AuthMethod, IdleOrder, PoolMode, TlsMode};

fn import_files(files: &[(&str, &str)]) -> Imported {
    let files: HashMap<PathBuf, String> = files.iter().map(|(name, text)| (PathBuf::from(name), (*text).to_owned())).collect();
    let read = |path: &Path| files.get(path).cloned().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound));
    import(Path::new("/etc/pgbouncer/pgbouncer.ini"), &read).unwrap()
}

fn config(imported: &Imported) -> Config {
    assert_eq!(imported.complaint, None, "{}", imported.toml);
    Config::load(Some(File { name: "imported", text: &imported.toml }), None, []).unwrap()
}

fn has_note(imported: &Imported, begin: &str) -> bool {
    imported.notes.iter().any(|note| note.starts_with(begin))
}

const INI: &str = "/etc/pgbouncer/pgbouncer.ini";

#[test]
fn a_web_applications_file() {
    let imported = import_files(&[
        (
            INI,
            r#"
;; database name = connect string
[databases]
shop = host=db.internal port=5433 dbname=shop user=shop password='it''s /secret@1'
shop_ro = host=replica.internal dbname=shop user=shop password=x pool_size=7 reserve_pool=2

[pgbouncer]
logfile = /var/log/postgresql/pgbouncer.log
pidfile = /var/run/postgresql/pgbouncer.pid
listen_addr = *
listen_port = 6432
unix_socket_dir = /var/run/postgresql
auth_type = scram-sha-256
auth_file = userlist.txt
admin_users = postgres, shop
stats_users = monitor
pool_mode = transaction
max_client_conn = 2000
default_pool_size = 25
min_pool_size = 5
reserve_pool_size = 5
query_wait_timeout = 30
server_idle_timeout = 300.5
server_lifetime = 0
idle_transaction_timeout = 60
server_round_robin = 1
ignore_startup_parameters = extra_float_digits,options
max_prepared_statements = 200
server_tls_sslmode = verify-full
server_tls_ca_file = /etc/ssl/ca.pem
tcp_keepidle = 45
"#,
        ),
        ("/etc/pgbouncer/userlist.txt", "; comment\n\"shop\" \"it's /secret@1\"\n\"weird \"\"name\" \"p\"\n"),
    ]);
    let config = config(&imported);
    assert_eq!(config.listen.address, Some("0.0.0.0:6432".parse().unwrap()));
    assert_eq!((config.listen.max_clients, config.listen.tcp_keepalive), (2000, Duration::from_secs(45)));
    assert_eq!(
        (config.pool.mode, config.pool.order, config.pool.size, config.pool.min_idle),
        (PoolMode::Transaction, IdleOrder::RoundRobin, 25, 5)
    );
    assert_eq!(config.pool.checkout_timeout, Duration::from_secs(30));
    assert_eq!((config.pool.idle_timeout, config.pool.max_lifetime), (Duration::from_millis(300_500), Duration::ZERO));
    assert_eq!(config.pool.idle_in_transaction_timeout, Duration::from_secs(60));
    assert_eq!(config.auth.console_users, ["shop"]);
    assert!(has_note(&imported, "admin_users: postgres"), "{:?}", imported.notes);
    assert_eq!(config.plans.per_server, 200);
    let [shop, replica] = &config.databases[..] else { panic!("{:?}", config.databases) };
    assert_eq!(
        (shop.name.as_str(), shop.upstream.to_string().as_str(), shop.pool_size),
        ("shop", "shop@db.internal:5433/shop", 25)
    );
    assert_eq!(shop.upstream.password.as_ref().unwrap().expose(), "it's /secret@1");
    assert_eq!(shop.upstream.tls, TlsMode::VerifyFull);
    assert_eq!((replica.name.as_str(), replica.upstream.database.as_str(), replica.pool_size), ("shop_ro", "shop", 7));
    assert!(config.users.iter().any(|user| user.name == "weird \"name"));
    for begin in [
        "logfile: ",
        "pidfile: ",
        "stats_users: ",
        "reserve_pool_size: ",
        "ignore_startup_parameters: ",
        "database shop_ro: reserve_pool=2: ",
    ] {
        assert!(has_note(&imported, begin), "{begin} {:#?}", imported.notes);
    }
    assert!(!imported.notes.iter().any(|note| note.contains("secret")), "notes go to a terminal");
}

#[test]
fn a_file_that_says_little_gets_pgbouncers_defaults() {
    let imported = import_files(&[
        (INI, "[databases]\napp = host=/var/run/postgresql\n[pgbouncer]\nlisten_addr = 127.0.0.1\nauth_file = userlist.txt\n"),
        ("/etc/pgbouncer/userlist.txt", "\"app\" \"secret\"\n"),
    ]);
    let config = config(&imported);
    assert_eq!((config.pool.mode, config.auth.method), (PoolMode::Session, AuthMethod::Md5));
    assert_eq!((config.listen.max_clients, config.pool.min_idle), (100, 0));
    assert_eq!((config.pool.checkout_timeout, config.listen.login_timeout), (Duration::from_secs(120), Duration::from_secs(60)));
    assert_eq!(config.databases[0].upstream.to_string(), "app@/var/run/postgresql/.s.PGSQL.5432/app");
    assert!(has_note(&imported, "databases without user="));
}

#[test]
fn includes_users_and_a_database_with_a_pool_of_its_own() {
    let imported = import_files(&[
        (
            INI,
            "%include databases.ini\n[pgbouncer]\nlisten_addr=::1,10.0.0.1\nlisten_port=5555\nauth_type=trust\n[users]\nreport = pool_size=3 max_user_client_connections=40 max_user_connections=9 pool_mode=session\n",
        ),
        (
            "/etc/pgbouncer/databases.ini",
            "[databases]\n\"Big One\" = host=10.1.1.1,10.1.1.2 user=app pool_size=50 connect_query='select 1'\nsmall = host=10.1.1.1 user=app client_encoding=utf8\n* = host=10.1.1.1\n",
        ),
    ]);
    let config = config(&imported);
    assert_eq!(config.listen.address, Some("[::1]:5555".parse().unwrap()));
    let names: Vec<_> = config.databases.iter().map(|database| (database.name.as_str(), database.pool_size)).collect();
    assert_eq!(names, [("small", 20), ("Big One", 50)]);
    let report = config.users.iter().find(|user| user.name == "report").unwrap();
    assert_eq!((report.pool_size, report.max_clients), (Some(3), Some(40)));
    for begin in [
        "listen_addr: ",
        "database Big One: connect_query",
        "database Big One: pgdial does not choose",
        "database small: client_encoding",
        "database *: ",
        "user report: max_user_connections",
        "user report: pool_mode",
    ] {
        assert!(has_note(&imported, begin), "{begin} {:#?}", imported.notes);
    }
}

#[test]
fn the_first_database_may_have_a_size_or_another_name() {
    let imported = import_files(&[(
        INI,
        "[databases]\na = host=h user=u pool_size=5\nb = host=h user=u\n[pgbouncer]\nlisten_addr=*\nauth_type=trust\npool_mode=statement\nlisten_port=6433\n",
    )]);
    let sizes = |config: &Config| config.databases.iter().map(|own| (own.name.clone(), own.pool_size)).collect::<Vec<_>>();
    let found = imported.complaint.as_deref().unwrap_or_default();
    assert!(found.is_empty(), "{found}");
    let loaded = config(&imported);
    assert_eq!((sizes(&loaded), loaded.pool.mode), (vec![("b".into(), 20), ("a".into(), 5)], PoolMode::Statement));
    let imported =
        import_files(&[(INI, "[databases]\nalias = host=h user=u dbname=real\n[pgbouncer]\nlisten_addr=*\nauth_type=trust\n")]);
    assert_eq!(sizes(&config(&imported)), [("real".into(), 20), ("alias".into(), 20)]);
    assert!(has_note(&imported, "database alias: "));
    let imported = import_files(&[(
        INI,
        "[databases]\na = host=h user=u pool_size=5\nc = host=h user=u dbname=other\n[pgbouncer]\nlisten_addr=*\nauth_type=trust\n",
    )]);
    assert_eq!(sizes(&config(&imported)), [("a".into(), 5), ("c".into(), 20)]);
}

#[test]
fn hashed_passwords_and_what_guards_the_entrance() {
    let verifier = "SCRAM-SHA-256$4096:c2FsdA==$c3RvcmVk:c2VydmVy";
    let list = format!("\"app\" \"{verifier}\"\n\"old\" \"md5aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"\n");
    let ini = "[databases]\napp = host=h\n[pgbouncer]\nlisten_addr=*\nauth_file=userlist.txt\nauth_query=SELECT 1\n";
    let imported = import_files(&[(INI, ini), ("/etc/pgbouncer/userlist.txt", &list)]);
    assert!(imported.toml.contains("method = \"scram-sha-256\""));
    assert!(imported.toml.contains(verifier) && !imported.toml.contains("postgres://app:SCRAM"), "{}", imported.toml);
    assert!(has_note(&imported, "user app: a hashed password") && has_note(&imported, "auth_type = md5: "));
    let ini = "[databases]\napp = host=h user=u password=p\n[pgbouncer]\nlisten_addr=*\nclient_tls_sslmode=verify-full\nclient_tls_ca_file=/ca.pem\nclient_tls_cert_file=/c.pem\nclient_tls_key_file=/k.pem\nauth_type=trust\n";
    let imported = import_files(&[(INI, ini)]);
    assert!(
        imported.toml.contains("tls = \"verify-ca\"") && imported.toml.contains("tls_client_ca"),
        "never loosened: {}",
        imported.toml
    );
}

#[test]
fn every_setting_is_carried_over_or_named() {
    let settings = "listen_addr=*\nauth_type=hba\nauth_hba_file=hba.conf\nsyslog=1\nno_such_thing=1\nquery_timeout=soon\nclient_login_timeout=0\nlisten_port=x\nmax_prepared_statements=0\n";
    let imported = import_files(&[(
        INI,
        &format!("[databases]\na = host=h user=u password=p foo=1\n[pgbouncer]\n{settings}[peers]\n1 = host=x\n[odd]\na=b\n"),
    )]);
    config(&imported);
    for begin in [
        "auth_type = hba: ",
        "auth_hba_file: ",
        "syslog: ",
        "no_such_thing: ",
        "query_timeout: ",
        "client_login_timeout = 0: ",
        "listen_port = x: ",
        "max_prepared_statements = 0: ",
        "[peers]: ",
        "database a: foo: ",
    ] {
        assert!(has_note(&imported, begin), "{begin} {:#?}", imported.notes);
    }
    assert!(imported.notes.iter().any(|note| note.contains("[odd]")));
}

#[test]
fn what_is_no_file_of_pgbouncer() {
    let fails = |text: &'static str| {
        let read = move |path: &Path| {
            if path == Path::new(INI) { Ok(text.to_owned()) } else { Err(io::Error::from(io::ErrorKind::NotFound)) }
        };
        import(Path::new(INI), &read).unwrap_err()
    };
    assert!(fails("").contains("neither"));
    assert!(fails("[databases]\nnonsense\n").contains("line 2"));
    assert!(fails("[databases]\na = host='open\n").contains("line 2"));
    assert!(fails("%include missing.ini\n").contains("missing.ini"));
    assert!(fails("%include pgbouncer.ini\n").contains("nested"));
}
