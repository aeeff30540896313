//! Floor 3. Tests. A scripted server: what a real one would send, and what none should.

use super::*;
use crate::net::Listener;
use crate::pg::TransactionStatus;
use crate::wire::backend::{Authentication, BackendKeyData, Mechanisms, ParameterStatus, data_row, ready_for_query};
use crate::wire::diagnostics::{Report, Severity};
use tokio::task::JoinHandle;

/// Accepts once per reply: reads something, then sends that reply and goes on to read until the end.
async fn server(replies: Vec<Vec<Vec<u8>>>) -> (Target, JoinHandle<usize>) {
    let listener = Listener::tcp("127.0.0.1:0".parse().unwrap(), TcpOptions::default()).unwrap();
    let port = listener.local_address().unwrap().port();
    let task = tokio::spawn(async move {
        let mut accepted = 0;
        for connection in replies {
            let (mut stream, _) = listener.accept().await;
            accepted += 1;
            for reply in connection {
                let mut given = [0; 4096];
                if stream.read(&mut given).await.unwrap_or(0) == 0 {
                    break;
                }
                let _ = stream.write_all(&reply).await;
            }
            let _ = stream.read(&mut [0]).await;
        }
        accepted
    });
    (target(port, "disable"), task)
}

fn target(port: u16, sslmode: &str) -> Target {
    let tls = Connector::new(TlsMode::from_word(sslmode).unwrap(), None).unwrap();
    Target {
        host: Host::Tcp { host: "127.0.0.1".into(), port },
        tls,
        tcp: TcpOptions::default(),
        channel_binding: ChannelBinding::Prefer,
    }
}

fn login() -> Login {
    Login::new("app", Arc::new(Credentials::configured(Some("secret"))), "app", Vec::new())
}

/// Everything of a login without a password, in one piece.
fn welcome() -> Vec<u8> {
    let mut out = Vec::new();
    Authentication::Ok.encode(&mut out);
    for (name, value) in [("server_version", "15.3"), ("TimeZone", "UTC"), ("server_version", "15.4")] {
        ParameterStatus { name: name.as_bytes(), value: value.as_bytes() }.encode(&mut out);
    }
    BackendKeyData { pid: 7, secret: &[1, 2, 3, 4] }.encode(&mut out);
    ready_for_query(TransactionStatus::Idle, &mut out);
    out
}

fn refusal(sqlstate: &[u8; 5]) -> Vec<u8> {
    let mut out = Vec::new();
    let sqlstate = SqlState(*sqlstate);
    let (message, hint) = ("go away", Some("come back later"));
    Report { severity: Severity::Fatal, sqlstate, message, detail: None, hint }.encode_error(&mut out);
    out
}

#[tokio::test]
async fn what_the_server_says_of_itself_is_kept() {
    let (target, _) = server(vec![vec![[welcome(), b"extra".to_vec()].concat()]]).await;
    let dialed = dial(&target, &login()).await.unwrap();
    let expected = [("server_version", "15.4"), ("TimeZone", "UTC")];
    assert!(dialed.parameters.iter().map(|(name, value)| (&**name, &**value)).eq(expected));
    assert_eq!(dialed.key.unwrap().pid, 7);
    assert_eq!(dialed.leftover, b"extra");
}

#[tokio::test]
async fn a_server_without_a_key_is_a_server() {
    let mut out = Vec::new();
    Authentication::Ok.encode(&mut out);
    ready_for_query(TransactionStatus::Idle, &mut out);
    let (target, _) = server(vec![vec![out]]).await;
    assert_eq!(dial(&target, &login()).await.unwrap().key, None);
}

/// As protocol 3.2 allows it: up to 256 bytes.
#[tokio::test]
async fn a_long_key_is_kept_and_shown_to_cancel() {
    let mut out = Vec::new();
    Authentication::Ok.encode(&mut out);
    BackendKeyData { pid: 7, secret: &[9; 256] }.encode(&mut out);
    ready_for_query(TransactionStatus::Idle, &mut out);
    let (address, _) = server(vec![vec![out]]).await;
    let key = dial(&address, &login()).await.unwrap().key.unwrap();
    assert_eq!((key.pid, &*key.secret), (7, &[9; 256][..]));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let heard = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut packet = vec![0; 12 + 256];
        stream.read_exact(&mut packet).await.unwrap();
        packet
    });
    cancel(&target(port, "disable"), &key, false).await.unwrap();
    assert_eq!(heard.await.unwrap()[12..], [9; 256]);
}

/// A key of an encrypted session is not sent in the clear, whatever the other side says.
#[tokio::test]
async fn a_cancel_request_is_not_talked_out_of_tls() {
    let (address, task) = server(vec![vec![b"N".to_vec()]]).await;
    let Host::Tcp { port, .. } = address.host else { panic!("TCP") };
    let key = BackendKey { pid: 7, secret: [1; 4].into() };
    let error = cancel(&target(port, "prefer"), &key, true).await.unwrap_err();
    assert!(error.message().contains("takes no TLS"), "{error}");
    assert_eq!(task.await.unwrap(), 1);
}

#[tokio::test]
async fn a_refusal_keeps_code_words_and_hint() {
    let (target, _) = server(vec![vec![refusal(b"53300")]]).await;
    let error = dial(&target, &login()).await.unwrap_err();
    assert_eq!((error.sqlstate().0, error.message(), error.hint()), (*b"53300", "go away", Some("come back later")));
    assert_eq!(error.level(), Severity::Fatal);
}

#[tokio::test]
async fn servers_that_break_the_protocol_are_given_up() {
    let (mut scram, mut early) = (Vec::new(), Vec::new());
    Authentication::Sasl { mechanisms: Mechanisms::SCRAM_SHA_256 }.encode(&mut scram);
    Authentication::SaslFinal { data: b"v=AAAA" }.encode(&mut early);
    let mut many = welcome();
    many.truncate(9);
    for _ in 0..2000 {
        ParameterStatus { name: b"a", value: b"b" }.encode(&mut many);
    }
    for script in [
        vec![b"Q\0\0\0\x04".to_vec()],
        vec![b"R\x7f\0\0\0".to_vec()],
        vec![b"R\0\0\0\x08\0\0\0\x63".to_vec()],
        vec![b"E\0\0\0\x05x".to_vec()],
        vec![b"HTTP/1.1 400 Bad Request\r\n".to_vec()],
        vec![early],
        vec![scram.clone(), welcome()],
        vec![many],
        vec![Vec::new()],
    ] {
        let shown = format!("{script:?}").chars().take(80).collect::<String>();
        let (target, _task) = server(vec![script]).await;
        let dialed = tokio::time::timeout(std::time::Duration::from_millis(300), dial(&target, &login())).await;
        assert!(!matches!(dialed, Ok(Ok(_))), "{shown}");
    }
}

/// libpq's way with `prefer` and `allow`, but for a wrong password, which is not tried twice.
#[tokio::test]
async fn the_other_way_is_tried_where_it_may_help() {
    for (sslmode, connections, accepted, succeeds) in [
        ("prefer", vec![vec![b"X".to_vec()], vec![welcome()]], 2, true),
        ("prefer", vec![vec![b"S".to_vec(), b"not a handshake".to_vec()], vec![welcome()]], 2, true),
        ("prefer", vec![vec![b"N".to_vec(), refusal(b"28000")]], 1, false),
        ("allow", vec![vec![refusal(b"28000")], vec![b"N".to_vec(), welcome()]], 2, true),
        ("allow", vec![vec![refusal(b"28P01")]], 1, false),
        ("require", vec![vec![b"S".to_vec(), b"not a handshake".to_vec()]], 1, false),
    ] {
        let (address, task) = server(connections).await;
        let Host::Tcp { port, .. } = address.host else { panic!("TCP") };
        let dialed = dial(&target(port, sslmode), &login()).await;
        assert_eq!(dialed.is_ok(), succeeds, "{sslmode} {dialed:?}");
        drop(dialed);
        assert_eq!(task.await.unwrap(), accepted, "{sslmode}");
    }
}

#[tokio::test]
async fn nobody_at_home_is_an_error_that_names_the_address() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let error = dial(&target(port, "prefer"), &login()).await.unwrap_err();
    assert!(error.kind() == Kind::Connect && error.message().contains(&format!("127.0.0.1:{port}")), "{error}");
}

#[tokio::test]
async fn an_internal_query_gives_rows_or_the_error_and_the_connection_goes_on() {
    let (mut rows, mut failed) = (Vec::new(), refusal(b"42601"));
    data_row([Some(&b"on"[..]), None].into_iter(), &mut rows);
    ready_for_query(TransactionStatus::Idle, &mut rows);
    ready_for_query(TransactionStatus::Idle, &mut failed);
    let (target, _) = server(vec![vec![welcome(), failed, rows]]).await;
    let mut dialed = dial(&target, &login()).await.unwrap();
    assert_eq!(&dialed.query("bad").await.unwrap_err().sqlstate().0, b"42601");
    assert_eq!(dialed.query("show x").await.unwrap(), [[Some("on".to_owned()), None]]);
    assert!(dialed.leftover.is_empty());
}

#[test]
fn a_login_does_not_print_its_password() {
    assert_eq!(format!("{:?}", login()), "Login(app@app)");
}
