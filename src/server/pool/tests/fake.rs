//! Floor 3. A server that exists only as counters.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use super::super::*;

/// What all fake connections of a test share.
#[derive(Default)]
pub(super) struct Server {
    pub(super) down: AtomicBool,
    pub(super) stuck: AtomicBool,
    pub(super) mute: AtomicBool,
    pub(super) dials: AtomicU32,
    pub(super) probes: AtomicU32,
    pub(super) open: AtomicU32,
    pub(super) most_open: AtomicU32,
    /// Connections made before this number are dead.
    killed_below: AtomicU32,
    pub(super) dial_micros: AtomicU64,
    in_use: Mutex<HashSet<u32>>,
}

#[derive(Clone, Default)]
pub(super) struct Fake(pub(super) Arc<Server>);

pub(super) struct Conn {
    pub(super) id: u32,
    server: Arc<Server>,
}

impl Connector for Fake {
    type Conn = Conn;

    async fn connect(&self, _: SetId) -> Result<Conn> {
        let server = Arc::clone(&self.0);
        let id = server.dials.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_micros(server.dial_micros.load(Ordering::SeqCst))).await;
        if server.stuck.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        if server.down.load(Ordering::SeqCst) {
            return Err(Error::new(Kind::Connect, "connection refused").with_hint("start it"));
        }
        let open = server.open.fetch_add(1, Ordering::SeqCst) + 1;
        server.most_open.fetch_max(open, Ordering::SeqCst);
        Ok(Conn { id, server })
    }
}

impl PooledConn for Conn {
    fn is_usable(&mut self) -> bool {
        self.id >= self.server.killed_below.load(Ordering::SeqCst)
    }

    async fn probe(&mut self) -> bool {
        self.server.probes.fetch_add(1, Ordering::SeqCst);
        !self.server.mute.load(Ordering::SeqCst)
    }

    async fn inspect(&mut self) -> Inspection {
        if self.probe().await { Inspection::Clean } else { Inspection::Dead }
    }

    fn close(self) {}
}

impl Drop for Conn {
    fn drop(&mut self) {
        self.server.open.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Server {
    pub(super) fn kill_all(&self) {
        self.killed_below.store(self.dials.load(Ordering::SeqCst), Ordering::SeqCst);
    }

    pub(super) fn enter(&self, id: u32) {
        assert!(self.in_use.lock().insert(id), "two clients on one connection");
    }

    pub(super) fn leave(&self, id: u32) {
        assert!(self.in_use.lock().remove(&id));
    }
}
