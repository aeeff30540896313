//! Attacks on and through TLS.

use super::{Victim, contains, the_rest};
use crate::secure::certificate;
use crate::support::encode::Out;
use crate::support::process::{TempDir, eventually};
use crate::support::wire::PATIENCE;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];
/// A fatal alert (handshake_failure), as it would look without encryption.
const ALERT: [u8; 7] = [21, 3, 3, 0, 2, 2, 40];

fn victim(what: &str, folder: &Path) -> Victim {
    let (cert, key) = certificate(folder);
    let (cert, key) = (cert.to_string_lossy().into_owned(), key.to_string_lossy().into_owned());
    Victim::new(what, |config| {
        let config = config.text("listen", "tls", "prefer").text("listen", "login_timeout", "1s");
        config.text("listen", "tls_cert", &cert).text("listen", "tls_key", &key)
    })
}

/// Asked for TLS, and told `S`.
fn asked(victim: &Victim) -> TcpStream {
    let mut stream = victim.connect();
    stream.write_all(&SSL_REQUEST).unwrap();
    let mut answer = [0];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"S");
    stream
}

type Break = fn(&mut Encrypted);
type Encrypted = StreamOwned<ClientConnection, TcpStream>;

/// Logged in through TLS, with `text` under way.
fn running(victim: &Victim, folder: &Path, text: &str) -> Encrypted {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(folder.join("cert.pem")).unwrap()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider())).with_safe_default_protocol_versions();
    let config = builder.unwrap().with_root_certificates(roots).with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream = StreamOwned::new(ClientConnection::new(Arc::new(config), name).unwrap(), asked(victim));
    stream.write_all(&Out::startup(&victim.parameters()).0).unwrap();
    let mut seen = Vec::new();
    while !seen.ends_with(b"Z\0\0\0\x05I") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        seen.push(byte[0]);
    }
    stream.write_all(&Out::new().query(text).0).unwrap();
    stream.flush().unwrap();
    stream
}

#[test]
fn handshakes_that_never_end() {
    let folder = TempDir::new("half_tls");
    let victim = victim("half_tls", folder.path());
    let mut half_open: Vec<TcpStream> = (0..30).map(|_| asked(&victim)).collect();
    let began = Instant::now();
    for (at, stream) in half_open.iter_mut().enumerate() {
        // Nothing at all, the head of a ClientHello, or one that announces more than ever comes.
        stream.write_all(&[22, 3, 1, 2, 0, 1, 0, 1, 252][..at % 10]).unwrap();
    }
    victim.serves();
    half_open.iter_mut().for_each(|stream| drop(the_rest(stream)));
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    victim.is_unharmed(16);
}

#[test]
fn plaintext_where_tls_was_asked_for() {
    let folder = TempDir::new("plain_tls");
    let victim = victim("plain_tls", folder.path());
    let startup = Out::startup(&victim.parameters()).0;
    // Behind the answer: it is taken for a handshake, and is none.
    let mut stream = asked(&victim);
    stream.write_all(&startup).unwrap();
    stream.write_all(&Out::new().query("select 'let in'").0).unwrap();
    assert!(!contains(&the_rest(&mut stream), "let in"));
    // Before the answer: somebody may have put it there. Postgres refuses that too.
    let mut stream = victim.connect();
    stream.write_all(&[&SSL_REQUEST[..], &startup].concat()).unwrap();
    let answer = the_rest(&mut stream);
    assert!(contains(&answer, "unencrypted data"), "{}", String::from_utf8_lossy(&answer));
    assert!(!contains(&answer, "ReadyForQuery") && !contains(&answer, "server_version"));
    // TLS without having asked: a length of 369 MB.
    let mut stream = victim.connect();
    stream.write_all(&[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3]).unwrap();
    assert!(!contains(&the_rest(&mut stream), "server_version"));
    victim.is_unharmed(16);
}

#[test]
fn a_connection_that_breaks_in_mid_query() {
    let folder = TempDir::new("broken_tls");
    let victim = victim("broken_tls", folder.path());
    let breaks: [(&str, Break); 5] = [
        ("an alert in plain text", |stream| stream.sock.write_all(&ALERT).unwrap()),
        ("noise for a record", |stream| stream.sock.write_all(&[99, 3, 3, 0, 3, 1, 2, 3]).unwrap()),
        ("a record that was not encrypted with the key", |stream| {
            stream.sock.write_all(&[&[23, 3, 3, 0, 32][..], &[7; 32]].concat()).unwrap();
        }),
        ("an end without close_notify", |stream| stream.sock.shutdown(Shutdown::Both).unwrap()),
        ("a proper close_notify", |stream| {
            stream.conn.send_close_notify();
            stream.flush().unwrap();
        }),
    ];
    for (what, break_off) in breaks {
        // Both servers are busy with statements that last longer than the test waits.
        let mut streams = [(); 2].map(|()| running(&victim, folder.path(), "select pg_sleep(20)"));
        eventually("both run", PATIENCE, || victim.pgdial.stat("pool.active") == 2);
        streams.iter_mut().for_each(break_off);
        let began = Instant::now();
        eventually(what, Duration::from_secs(4), || victim.pgdial.stat("pool.active") == 0);
        victim.serves();
        assert!(began.elapsed() < Duration::from_secs(4), "{what}: a server was kept for {:?}", began.elapsed());
    }
    victim.is_unharmed(24);
}
