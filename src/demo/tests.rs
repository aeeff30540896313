//! Floor 5. The whole demo with a plain TCP relay in pgdial's place: all of it but pgdial itself.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::config::Host;

async fn relay(config: &Config, connections: Arc<AtomicU32>) -> Running {
    let Host::Tcp { host, port } = config.databases[0].upstream.host.clone() else { panic!("the demo's Postgres is on TCP") };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, mut stopped) = watch::channel(false);
    let task = tokio::spawn(async move {
        loop {
            let accepted = tokio::select! { accepted = listener.accept() => accepted, _ = stopped.changed() => return };
            let (mut client, _) = accepted.unwrap();
            connections.fetch_add(1, Ordering::Relaxed);
            let target = (host.clone(), port);
            tokio::spawn(async move {
                let mut server = TcpStream::connect(target).await.unwrap();
                let _ = copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    Running { address, admin: address, stop, task }
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_from_start_to_end_and_leaves_nothing_behind() {
    let connections = Arc::new(AtomicU32::new(0));
    let upstream = Arc::new(Mutex::new(None));
    let (seen, used) = (Arc::clone(&upstream), Arc::clone(&connections));
    run(true, |config| async move {
        assert_eq!(config.unsupported(), Vec::<String>::new());
        *seen.lock().unwrap() = Some(config.databases[0].upstream.host.clone());
        Ok(relay(&config, used).await)
    })
    .await
    .unwrap();
    assert!(connections.load(Ordering::Relaxed) > 3);
    let Some(Host::Tcp { host, port }) = upstream.lock().unwrap().take() else { panic!("pgdial was not started") };
    assert!(TcpStream::connect((host, port)).await.is_err(), "Postgres still runs");
}

#[tokio::test]
async fn a_pgdial_that_does_not_start_ends_the_demo_with_its_error() {
    let error = run(true, async |_| Err(Error::new(Kind::Config, "no such luck"))).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Config);
}
