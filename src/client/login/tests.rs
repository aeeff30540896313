//! Floor 4. Tests. Real sockets; tokio-postgres and our own dial as clients, raw bytes where no client would send them.

use super::*;
use crate::auth::{Credentials, DEFAULT_ITERATIONS, ScramVerifier, md5_password};
use crate::config::{AuthMethod, ChannelBinding, File, Host, Upstream};
use crate::net::{Listener, TcpOptions, tls};
use crate::pg::TransactionStatus;
use crate::server::dial::{Login, Target, dial};
use crate::wire::backend::ready_for_query;
use crate::wire::frontend::Query;
use crate::wire::{frontend, startup as packets};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

fn context(method: &str, extra: &str) -> LoginContext {
    let md5 = md5_password("hashed", b"secret");
    let scram = ScramVerifier::derive(b"secret", b"0123456789abcdef", DEFAULT_ITERATIONS);
    let text = format!(
        "{extra}\n[upstream]\nurl = \"postgres://app:secret@db/app\"\n[auth]\nmethod = \"password\"\n\
         [[user]]\nname = \"plain\"\npassword = \"secret\"\n[[user]]\nname = \"hashed\"\npassword = \"{md5}\"\n\
         [[user]]\nname = \"verified\"\npassword = \"{scram}\"\n[[user]]\nname = \"nothing\"\n"
    );
    let mut config = Config::load(Some(File { name: "test", text: &text }), None, []).unwrap();
    // A file may not mix them so; auth_query will.
    config.auth.method = AuthMethod::from_word(method).unwrap();
    LoginContext {
        config: Arc::new(config),
        tls: None,
        verifiers: Arc::new(Verifiers::new([5; 32])),
        guard: Arc::default(),
        queries: Arc::default(),
    }
}

/// Takes one client; a session is sent what is pending and a ReadyForQuery.
async fn serve(context: LoginContext) -> (u16, JoinHandle<Result<Outcome>>) {
    let listener = Listener::tcp("127.0.0.1:0".parse().unwrap(), TcpOptions::default()).unwrap();
    let port = listener.local_address().unwrap().port();
    let task = tokio::spawn(async move {
        let (stream, peer) = listener.accept().await;
        let outcome = Box::pin(login(stream, peer, &context)).await?;
        let Outcome::Session(mut client) = outcome else {
            return Ok(outcome);
        };
        ready_for_query(TransactionStatus::Idle, &mut client.pending);
        client.stream.write_all(&client.pending).await.unwrap();
        client.stream.flush().await.unwrap();
        Ok(Outcome::Session(client))
    });
    (port, task)
}

async fn tokio_postgres_login(context: LoginContext, user: &str, password: &str, database: &str) -> Result<(), String> {
    let (port, task) = serve(context).await;
    let mut config = tokio_postgres::Config::new();
    config.user(user).password(password).dbname(database);
    let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let outcome = config.connect_raw(stream, tokio_postgres::NoTls).await;
    let served = task.await.unwrap();
    match outcome {
        Ok(_) => {
            let Ok(Outcome::Session(client)) = served else { panic!("no session") };
            assert_eq!((&*client.user, &*client.database), (user, database));
            Ok(())
        }
        Err(error) => {
            assert!(served.is_err());
            let error = error.as_db_error().unwrap();
            assert_eq!(error.severity(), "FATAL");
            Err(format!("{} {}", error.code().code(), error.message()))
        }
    }
}

#[tokio::test]
async fn tokio_postgres_logs_in_by_each_method() {
    for (method, users) in [
        ("trust", &["plain", "nothing"][..]),
        ("password", &["plain", "hashed", "verified"]),
        ("md5", &["plain", "hashed", "verified"]),
        ("scram-sha-256", &["plain", "verified", "app"]),
    ] {
        for user in users {
            let outcome = tokio_postgres_login(context(method, ""), user, "secret", "app").await;
            assert_eq!(outcome, Ok(()), "{method} {user}");
        }
    }
}

#[tokio::test]
async fn every_refusal_of_a_password_is_the_same() {
    for method in ["password", "md5", "scram-sha-256"] {
        for user in ["plain", "verified", "hashed", "nothing", "nobody"] {
            let refused = tokio_postgres_login(context(method, ""), user, "wrong", "app").await;
            let expected = format!("28P01 password authentication failed for user \"{user}\"");
            assert_eq!(refused, Err(expected), "{method}");
        }
    }
}

#[tokio::test]
async fn the_database_is_judged_after_the_password() {
    let refused = tokio_postgres_login(context("scram-sha-256", ""), "app", "secret", "typo").await;
    assert_eq!(refused, Err("3D000 database \"typo\" does not exist".into()));
    let refused = tokio_postgres_login(context("scram-sha-256", ""), "app", "wrong", "typo").await;
    assert_eq!(refused, Err("28P01 password authentication failed for user \"app\"".into()));
    let refused = tokio_postgres_login(context("trust", ""), "nobody", "", "app").await;
    assert_eq!(refused, Err("28000 role \"nobody\" does not exist".into()));
}

/// Certificate and key of localhost, in files.
fn certificate(name: &str) -> (PathBuf, PathBuf) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let dir = std::env::temp_dir().join(format!("pgdial-login-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let (cert, key) = (dir.join("cert.pem"), dir.join("key.pem"));
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    (cert, key)
}

fn target(port: u16, sslmode: &str, ca: Option<&Path>, host: &str) -> Target {
    let tls = crate::config::TlsMode::from_word(sslmode).unwrap();
    let upstream = Upstream {
        host: Host::Tcp { host: host.into(), port },
        user: "app".into(),
        password: None,
        database: "app".into(),
        tls,
        tls_ca: ca.map(Path::to_owned),
        channel_binding: ChannelBinding::Prefer,
    };
    Target::new(&upstream, TcpOptions { keepalive: Duration::from_secs(60), ..TcpOptions::default() }).unwrap()
}

fn app(password: &str) -> Login {
    Login::new("app", Arc::new(Credentials::configured(Some(password))), "app", vec![("application_name".into(), "x".into())])
}

#[tokio::test]
async fn our_dial_logs_in_with_tls_as_sslmode_says() {
    let (cert, key) = certificate("modes");
    let (other, _) = certificate("other");
    for (sslmode, ca, host, encrypted) in [
        ("disable", None, "localhost", Some(false)),
        ("allow", None, "localhost", Some(false)),
        ("prefer", None, "localhost", Some(true)),
        ("require", None, "127.0.0.1", Some(true)),
        ("require", Some(&other), "localhost", None),
        ("verify-ca", Some(&cert), "127.0.0.1", Some(true)),
        ("verify-ca", Some(&other), "localhost", None),
        ("verify-ca", None, "localhost", None),
        ("verify-full", Some(&cert), "localhost", Some(true)),
        ("verify-full", Some(&cert), "127.0.0.1", None),
    ] {
        let mut context = context("scram-sha-256", "");
        context.tls = Some(tls::server_config(&cert, &key, None).unwrap());
        let (port, task) = serve(context).await;
        let dialed = dial(&target(port, sslmode, ca.map(PathBuf::as_path), host), &app("secret")).await;
        let served = task.await.unwrap();
        assert_eq!(dialed.as_ref().ok().map(|dialed| dialed.stream.is_tls()), encrypted, "{sslmode} {host} {dialed:?}");
        assert_eq!(served.is_ok(), encrypted.is_some());
    }
}

#[tokio::test]
async fn without_tls_prefer_goes_on_and_require_gives_up() {
    let (port, _task) = serve(context("md5", "")).await;
    let dialed = dial(&target(port, "prefer", None, "localhost"), &app("secret")).await.unwrap();
    assert!(!dialed.stream.is_tls());
    let (port, _task) = serve(context("md5", "")).await;
    let error = dial(&target(port, "require", None, "localhost"), &app("secret")).await.unwrap_err();
    assert!(error.message().contains("does not support TLS"), "{error}");
}

#[tokio::test]
async fn a_refusal_keeps_its_sqlstate_through_dial() {
    let (port, _task) = serve(context("scram-sha-256", "")).await;
    let error = dial(&target(port, "disable", None, "localhost"), &app("wrong")).await.unwrap_err();
    assert_eq!(&error.sqlstate().0, b"28P01");
    assert_eq!(error.message(), "password authentication failed for user \"app\"");
}

#[tokio::test]
async fn tls_can_be_demanded_of_clients() {
    let (cert, key) = certificate("demanded");
    let files = format!("tls_cert = {cert:?}\ntls_key = {key:?}");
    let mut demanding = context("trust", &format!("[listen]\ntls = \"require\"\n{files}"));
    demanding.tls = Some(tls::server_config(&cert, &key, None).unwrap());
    let (port, _task) = serve(demanding.clone()).await;
    let error = dial(&target(port, "disable", None, "localhost"), &app("")).await.unwrap_err();
    assert_eq!(&error.sqlstate().0, b"28000");
    let (port, _task) = serve(demanding).await;
    assert!(dial(&target(port, "require", None, "localhost"), &app("")).await.is_ok());
}

/// Sends bytes, gives all that comes back until the end, and how the login ended.
async fn raw(context: LoginContext, bytes: &[u8]) -> (Vec<u8>, Result<Outcome>) {
    let (port, task) = serve(context).await;
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    stream.shutdown().await.unwrap();
    let outcome = task.await.unwrap();
    let mut answer = Vec::new();
    let outcome = if let Ok(Outcome::Session(client)) = outcome {
        answer.resize(1024, 0);
        let read = stream.read(&mut answer).await.unwrap();
        answer.truncate(read);
        Ok(Outcome::Session(client))
    } else if matches!(outcome, Ok(Outcome::Cancel(..))) {
        // Open until the request has been carried out.
        let closed = tokio::time::timeout(Duration::from_millis(50), stream.read_to_end(&mut answer)).await;
        assert!(closed.is_err(), "the connection of a cancel request is closed too early");
        outcome
    } else {
        let _ = stream.read_to_end(&mut answer).await;
        outcome
    };
    (answer, outcome)
}

fn startup_packet(version: Version, parameters: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    packets::startup(version, parameters.iter().copied(), &mut out);
    out
}

#[tokio::test]
async fn a_query_pipelined_behind_the_startup_packet_is_handed_over() {
    let mut bytes = startup_packet(Version::V3_0, &[("user", "app"), ("options", "-c x.y=1")]);
    let mut query = Vec::new();
    Query { text: b"select 1" }.encode(&mut query);
    bytes.extend_from_slice(&query);
    let (answer, outcome) = raw(context("trust", ""), &bytes).await;
    let Ok(Outcome::Session(client)) = outcome else { panic!("no session") };
    assert_eq!((&*client.database, client.leftover), ("app", query));
    assert_eq!(client.startup.get("options"), Some(&b"-c x.y=1"[..]));
    assert_eq!(answer.first_chunk(), Some(b"R\0\0\0\x08\0\0\0\0Z"));
}

#[tokio::test]
async fn a_version_is_negotiated_once_and_before_authentication() {
    let asked = Version { major: 3, minor: 9999 };
    let bytes = startup_packet(asked, &[("user", "app"), ("_pq_.x", "1")]);
    let (answer, outcome) = raw(context("trust", ""), &bytes).await;
    let Ok(Outcome::Session(client)) = outcome else { panic!("no session") };
    assert_eq!(client.version, Version::V3_2);
    let tags: Vec<u8> = {
        let (mut tags, mut rest) = (Vec::new(), &answer[..]);
        while let Some((frame, after)) = crate::wire::Frame::split(rest, 1000).unwrap() {
            tags.push(frame.tag);
            rest = after;
        }
        tags
    };
    assert_eq!(tags, *b"vRZ");
}

#[tokio::test]
async fn requests_before_the_startup_packet() {
    let (mut ssl, mut gss, mut cancel) = (Vec::new(), Vec::new(), Vec::new());
    packets::ssl_request(&mut ssl);
    packets::gss_enc_request(&mut gss);
    let key = BackendKey { pid: 7, secret: [1, 2, 3, 4].into() };
    packets::cancel(&key, &mut cancel);

    let (answer, outcome) = raw(context("trust", ""), &cancel).await;
    assert!(answer.is_empty() && matches!(outcome, Ok(Outcome::Cancel(found, _)) if found == key));
    let (answer, outcome) = raw(context("trust", ""), b"").await;
    assert!(answer.is_empty() && matches!(outcome, Ok(Outcome::Closed)));
    let (answer, outcome) = raw(context("trust", ""), &ssl).await;
    assert!(answer == b"N" && matches!(outcome, Ok(Outcome::Closed)));
    let (answer, outcome) = raw(context("trust", ""), &gss).await;
    assert!(answer == b"N" && matches!(outcome, Ok(Outcome::Closed)));

    // Bytes behind the request may be anybody's.
    let stuffed = [ssl, startup_packet(Version::V3_0, &[("user", "app")])].concat();
    let (answer, outcome) = raw(context("trust", ""), &stuffed).await;
    assert!(outcome.is_err() && answer.starts_with(b"E") && String::from_utf8_lossy(&answer).contains("08P01"));
}

#[tokio::test]
async fn each_encryption_is_asked_for_once() {
    let (port, task) = serve(context("trust", "")).await;
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    for expected in [b'N', b'E'] {
        let mut ssl = Vec::new();
        packets::ssl_request(&mut ssl);
        stream.write_all(&ssl).await.unwrap();
        assert_eq!(stream.read_u8().await.unwrap(), expected);
    }
    assert_eq!(&task.await.unwrap().err().unwrap().sqlstate().0, b"0A000");
}

#[tokio::test]
async fn startup_packets_that_are_refused() {
    for (parameters, sqlstate) in [
        (&[("database", "app")][..], b"28000"),
        (&[("user", "app"), ("replication", "perhaps")], b"22023"),
        (&[("user", "app"), ("database", "nowhere"), ("replication", "database")], b"3D000"),
    ] {
        let (_, outcome) = raw(context("trust", ""), &startup_packet(Version::V3_0, parameters)).await;
        assert_eq!(&outcome.err().unwrap().sqlstate().0, sqlstate, "{parameters:?}");
    }
    for (replication, database) in [("off", "app"), ("database", "app"), ("on", "app"), ("TRUE", "replication")] {
        let parameters = [("user", "app"), ("database", database), ("replication", replication)];
        let outcome = raw(context("trust", ""), &startup_packet(Version::V3_0, &parameters)).await.1;
        assert!(matches!(outcome, Ok(Outcome::Session(client)) if *client.database == *"app"), "{replication}");
    }
}

#[tokio::test]
async fn a_password_phase_takes_only_short_password_messages() {
    let hello = startup_packet(Version::V3_0, &[("user", "plain"), ("database", "app")]);
    let query = [&hello[..], b"Q\0\0\0\x05\0"].concat();
    let long = [&hello[..], b"p\0\x01\0\0"].concat();
    let empty = [&hello[..], b"p\0\0\0\x05\0"].concat();
    for (method, bytes, sqlstate) in [
        ("password", &query, b"08P01"),
        ("password", &long, b"08P01"),
        ("scram-sha-256", &long, b"08P01"),
        ("password", &empty, b"28P01"),
    ] {
        let (_, outcome) = raw(context(method, ""), bytes).await;
        assert_eq!(&outcome.err().unwrap().sqlstate().0, sqlstate, "{method}");
    }
}

/// libpq leaves no first message out, but the protocol lets a client do so.
#[tokio::test]
async fn the_first_sasl_message_may_come_late() {
    let mut bytes = startup_packet(Version::V3_0, &[("user", "plain"), ("database", "app")]);
    frontend::SaslInitialResponse { mechanism: b"SCRAM-SHA-256", data: None }.encode(&mut bytes);
    frontend::Password { data: b"n,,n=,r=abc" }.encode(&mut bytes);
    let (answer, outcome) = raw(context("scram-sha-256", ""), &bytes).await;
    assert_eq!(outcome.err().unwrap().kind(), Kind::ClientGone);
    assert!(String::from_utf8_lossy(&answer).contains("r=abc"));
}

#[test]
fn a_session_is_small() {
    assert!(size_of::<LoggedIn>() <= 256, "{}", size_of::<LoggedIn>());
}
