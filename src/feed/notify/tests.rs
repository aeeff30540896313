//! Floor 3. The listener against a server of a few lines: it speaks just enough of the protocol to be listened to.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_postgres::NoTls;

use super::*;
use crate::cache::{Cache, Counter, NoCache, Settings as CacheSettings};

const READY: &[u8] = b"Z\0\0\0\x05I";

/// One accepted connection.
struct Server(TcpStream);

impl Server {
    async fn accept(listener: &TcpListener) -> Self {
        let mut server = Self(listener.accept().await.unwrap().0);
        let length = server.0.read_u32().await.unwrap();
        server.skip(length as usize - 4).await;
        server.send(&[b"R\0\0\0\x08\0\0\0\0", READY]).await;
        server
    }

    async fn skip(&mut self, length: usize) {
        self.0.read_exact(&mut vec![0; length]).await.unwrap();
    }

    async fn send(&mut self, messages: &[&[u8]]) {
        self.0.write_all(&messages.concat()).await.unwrap();
    }

    /// The text of the next Query; `None` when the client has gone.
    async fn query(&mut self) -> Option<String> {
        let tag = self.0.read_u8().await.ok()?;
        assert_eq!(tag, b'Q');
        let mut text = vec![0; self.0.read_u32().await.ok()? as usize - 4];
        self.0.read_exact(&mut text).await.ok()?;
        text.pop();
        String::from_utf8(text).ok()
    }

    async fn complete(&mut self) {
        self.send(&[b"C\0\0\0\x0bLISTEN\0", READY]).await;
    }

    async fn notify(&mut self, payload: &str) {
        let body = [&7u32.to_be_bytes()[..], b"pgdial\0", payload.as_bytes(), b"\0"].concat();
        let length = (body.len() as u32 + 4).to_be_bytes();
        self.send(&[b"A", &length, &body]).await;
    }

    /// Answers probes until `done`.
    async fn until(&mut self, done: impl Fn() -> bool) {
        while !done() {
            tokio::select! {
                query = self.query() => if query.is_some() { self.complete().await },
                () = sleep(Duration::from_millis(2)) => {}
            }
        }
    }
}

struct Scene {
    listener: TcpListener,
    database: Database,
    reloads: Arc<std::sync::atomic::AtomicU32>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn scene() -> Scene {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let cache = Cache::new(CacheSettings { memory: 1 << 20, max_result: 1 << 10, observe: false }, Counter::default());
    let database = cache.database("app");
    let mut server = tokio_postgres::Config::new();
    server.host("127.0.0.1").port(listener.local_addr().unwrap().port()).user("app").dbname("app");
    let settings = Settings { channel: "odd \"name".into(), max_lag: Duration::from_millis(400) };
    let reloads = Arc::default();
    let counted: Arc<std::sync::atomic::AtomicU32> = Arc::clone(&reloads);
    let reload = move || {
        counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
    };
    let catalog: Catalog = Arc::new(|| None);
    let notify = Notify::new(server, NoTls, settings, database.clone(), catalog, reload);
    assert_eq!(database.suspension(), Some(NoCache::FeedLost), "suspended before the task runs");
    Scene { listener, database, reloads, task: tokio::spawn(notify.run()) }
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { timeout(Duration::from_secs(20), test).await }).expect("within the time");
}

#[test]
fn listening_opens_the_cache_and_a_cut_closes_it() {
    run(async {
        let scene = scene().await;
        let mut server = Server::accept(&scene.listener).await;
        assert_eq!(server.query().await.as_deref(), Some("LISTEN \"odd \"\"name\""));
        sleep(Duration::from_millis(20)).await;
        assert_eq!(scene.database.suspension(), Some(NoCache::FeedLost), "LISTEN is not done yet");
        let before = scene.database.totals().invalidations;
        server.complete().await;
        server.until(|| scene.database.suspension().is_none()).await;
        assert_eq!(scene.database.totals().invalidations, before + 1, "everything was bumped first");

        drop(server);
        let mut again = Server::accept(&scene.listener).await;
        assert_eq!(scene.database.suspension(), Some(NoCache::FeedLost));
        assert!(again.query().await.is_some_and(|text| text.starts_with("LISTEN")));
        again.complete().await;
        again.until(|| scene.database.suspension().is_none()).await;
    });
}

#[test]
fn a_silent_link_is_given_up() {
    run(async {
        let scene = scene().await;
        let mut server = Server::accept(&scene.listener).await;
        server.query().await;
        server.complete().await;
        assert_eq!(server.query().await.as_deref(), Some("SELECT 1"), "the probe");
        assert_eq!(scene.database.suspension(), None);
        // The server holds the connection and says nothing more.
        let _again = Server::accept(&scene.listener).await;
        assert_eq!(scene.database.suspension(), Some(NoCache::FeedLost));
    });
}

#[test]
fn notifications_move_versions_and_a_star_asks_for_the_catalog() {
    run(async {
        let scene = scene().await;
        let mut server = Server::accept(&scene.listener).await;
        server.query().await;
        server.complete().await;
        server.until(|| scene.database.suspension().is_none()).await;
        let count = || scene.database.totals().invalidations;
        let before = count();
        server.notify("public.unknown").await;
        server.until(|| count() > before).await;
        let mark = scene.database.catalog_mark();
        assert!(mark.is_some());
        assert_eq!(scene.reloads.load(std::sync::atomic::Ordering::SeqCst), 0);
        server.notify("*").await;
        server.until(|| scene.reloads.load(std::sync::atomic::Ordering::SeqCst) == 1).await;
        assert_ne!(scene.database.catalog_mark(), mark);
    });
}
