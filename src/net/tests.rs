//! Floor 3. Tests. Real sockets on this machine.

use super::*;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};

fn any_port() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

fn directory(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("pgdial-net-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

async fn tcp_pair() -> (Stream, TcpStream) {
    let listener =
        Listener::tcp(any_port(), TcpOptions { keepalive: Duration::from_secs(9), user_timeout: Duration::from_secs(9) })
            .unwrap();
    let peer = TcpStream::connect(listener.local_address().unwrap()).await.unwrap();
    let (stream, _) = listener.accept().await;
    (stream, peer)
}

async fn soon(stream: &Stream) -> Idle {
    tokio::time::timeout(Duration::from_secs(5), poll_fn(|cx| stream.poll_idle(cx))).await.unwrap()
}

#[tokio::test]
async fn an_idle_stream_tells_quiet_from_readable_from_closed() {
    let (tcp, peer) = tcp_pair().await;
    notices(tcp, peer).await;
    let (unix, peer) = UnixStream::pair().unwrap();
    notices(Stream::Unix(unix), peer).await;
}

async fn notices(mut stream: Stream, mut peer: impl tokio::io::AsyncWrite + Unpin) {
    assert_eq!(stream.idle(), Idle::Quiet);
    let waiting = tokio::time::timeout(Duration::from_millis(20), poll_fn(|cx| stream.poll_idle(cx)));
    assert!(waiting.await.is_err(), "quiet means waiting");
    peer.write_all(b"x").await.unwrap();
    assert_eq!(soon(&stream).await, Idle::Readable);
    assert_eq!(stream.read_u8().await.unwrap(), b'x', "looking takes nothing away");
    assert_eq!(stream.idle(), Idle::Quiet);
    drop(peer);
    assert_eq!(soon(&stream).await, Idle::Closed);
}

#[tokio::test]
async fn messages_are_cut_and_bounded() {
    let (mut stream, mut peer) = tcp_pair().await;
    let mut inbox = Vec::new();
    for byte in b"Z\0\0\0\x05IX\0\0\0\x04E\0\0\x01\0" {
        peer.write_all(&[*byte]).await.unwrap();
    }
    let message = next_message(&mut stream, &mut inbox, 100).await.unwrap();
    assert_eq!((message.tag, message.body), (b'Z', b"I".to_vec()));
    assert_eq!(next_message(&mut stream, &mut inbox, 100).await.ok().map(|message| message.tag), Some(b'X'));
    assert!(matches!(next_message(&mut stream, &mut inbox, 100).await, Err(Fault::Violation(_))));
    drop(peer);
    inbox.clear();
    assert!(matches!(next_message(&mut stream, &mut inbox, 100).await, Err(Fault::Closed)));
}

#[tokio::test]
async fn a_socket_file_comes_and_goes_with_its_listener() {
    let dir = directory("unix");
    let path = dir.join(".s.PGSQL.6432");
    let listener = Listener::unix(&dir, 6432).unwrap();
    assert!(Listener::unix(&dir, 6432).is_err(), "a live listener is left alone");
    let (connected, accepted) = tokio::join!(UnixStream::connect(&path), listener.accept());
    assert!(connected.is_ok() && matches!(accepted.1, Peer::Unix { uid: Some(_) }) && accepted.1.ip().is_none());
    drop(listener);
    assert!(!path.exists());
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists(), "std leaves a stale file");
    assert!(Listener::unix(&dir, 6432).is_ok(), "which is replaced");
    std::fs::write(&path, "not a socket").unwrap();
    assert!(Listener::unix(&dir, 6432).is_err());
    assert!(path.exists(), "a file that is no socket stays");
    std::fs::remove_dir_all(&dir).unwrap();
}

#[tokio::test]
async fn an_address_in_use_is_an_error_that_names_it() {
    let listener = Listener::tcp(any_port(), TcpOptions::default()).unwrap();
    let address = listener.local_address().unwrap();
    let error = Listener::tcp(address, TcpOptions::default()).unwrap_err();
    assert!(error.message().contains(&address.to_string()));
}

#[test]
fn tls_files_that_cannot_be_used_are_named() {
    let dir = directory("tls");
    let empty = dir.join("empty.pem");
    std::fs::write(&empty, "").unwrap();
    for path in [empty, dir.join("missing.pem")] {
        let error = tls::server_config(&path, &path, None).unwrap_err();
        assert!(error.message().contains(&path.display().to_string()), "{error}");
        assert!(tls::Connector::new(crate::config::TlsMode::Require, Some(&path)).is_err());
    }
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn nonces_are_printable_and_differ() {
    let (one, two) = (nonce().unwrap(), nonce().unwrap());
    assert!(one.len() == 24 && one != two && !one.contains(','));
}

#[test]
fn a_stream_is_small() {
    assert!(size_of::<Stream>() <= 48, "{}", size_of::<Stream>());
}
