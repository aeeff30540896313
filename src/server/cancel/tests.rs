//! Floor 3. Tests. A listener stands for Postgres: it has a cancel request when it closes the connection.

use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::config::{ChannelBinding, Host, TlsMode, Upstream};
use crate::net::TcpOptions;

async fn postgres() -> (TcpListener, Arc<Slot>, Arc<Registry>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = Upstream {
        host: Host::Tcp { host: "127.0.0.1".into(), port: listener.local_addr().unwrap().port() },
        user: "app".into(),
        password: None,
        database: "app".into(),
        tls: TlsMode::Disable,
        tls_ca: None,
        channel_binding: ChannelBinding::Prefer,
    };
    let target = Arc::new(Target::new(&upstream, TcpOptions::default()).unwrap());
    let registry = Arc::new(Registry::default());
    let card = ClientCard {
        user: "app".into(),
        database: "app".into(),
        application: "".into(),
        peer: crate::net::Peer::Unix { uid: None },
        local: None,
        tls: false,
        since: std::time::SystemTime::now(),
    };
    let slot = registry.register(b"secret", card, None);
    slot.lease(&target, Some(&BackendKey { pid: 7, secret: b"1234".as_slice().into() }), false, Instant::now());
    (listener, slot, registry)
}

/// The request is here; it is carried out when this is dropped.
async fn arrived(listener: &TcpListener) -> TcpStream {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut request = [0; 16];
    stream.read_exact(&mut request).await.unwrap();
    stream
}

async fn is_open<T>(task: &mut tokio::task::JoinHandle<T>) -> bool {
    tokio::time::timeout(Duration::from_millis(50), task).await.is_err()
}

/// Who joins may come to the turn before the one that it joins.
#[tokio::test]
async fn a_request_that_joins_ends_with_the_one_that_it_joins() {
    let (listener, slot, registry) = postgres().await;
    let Some(Begun::Waits(place)) = slot.begin() else { panic!("nobody waits yet") };
    let key = slot.key().clone();
    let mut joined = tokio::spawn(async move { registry.cancel(&key).await });
    assert!(is_open(&mut joined).await, "the turn is free, but the request has not been made");
    let holding = Arc::clone(&place.holding);
    let first = tokio::spawn(async move {
        holding.send(From::Client).unwrap().deliver().await;
        drop(place);
    });
    let request = arrived(&listener).await;
    assert!(is_open(&mut joined).await, "it is under way");
    drop(request);
    first.await.unwrap();
    joined.await.unwrap();
}

/// A place that is given up lets those go who have joined it, and the next request be made.
#[tokio::test]
async fn a_place_that_is_given_up_holds_nobody() {
    let (listener, slot, registry) = postgres().await;
    let Some(Begun::Waits(place)) = slot.begin() else { panic!("nobody waits yet") };
    let Some(Begun::Joins(holding, number)) = slot.begin() else { panic!("one waits") };
    drop(place);
    holding.done(number).await;
    let key = slot.key().clone();
    let next = tokio::spawn(async move { registry.cancel(&key).await });
    drop(arrived(&listener).await);
    next.await.unwrap();
    assert!(slot.release().is_none(), "nothing is open");
}

/// A client is killed while a request of its own is under way: the server is nobody's before both have arrived.
#[tokio::test]
async fn a_kill_behind_a_request_keeps_the_server_until_both_have_arrived() {
    let (listener, slot, registry) = postgres().await;
    let key = slot.key().clone();
    let own = tokio::spawn(async move { registry.cancel(&key).await });
    let first = arrived(&listener).await;
    let killed = tokio::spawn(Arc::clone(&slot).cancel_own());
    let holding = slot.release().expect("requests are under way");
    let mut settled = tokio::spawn(async move { holding.settled().await });
    drop(first);
    own.await.unwrap();
    let second = arrived(&listener).await;
    assert!(is_open(&mut settled).await, "the second is under way");
    drop(second);
    killed.await.unwrap();
    assert!(settled.await.unwrap(), "both have arrived");
}

/// It waits behind others for a place that it will not use any more: the client's end cancels all the same.
#[tokio::test]
async fn a_kill_cancels_though_a_request_waits() {
    let (listener, slot, _registry) = postgres().await;
    let Some(Begun::Waits(place)) = slot.begin() else { panic!("nobody waits yet") };
    let killed = tokio::spawn(Arc::clone(&slot).cancel_own());
    drop(arrived(&listener).await);
    killed.await.unwrap();
    let _nothing = slot.release();
    assert!(place.holding.send(From::Client).is_none(), "the client has no use for it any more");
}
