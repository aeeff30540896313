//! Floor 3. The stats endpoint: dashboard, `/stats`, `/metrics`, health, and the two calls that change something.
//!
//! It reads copies through [`Source`] on the blocking threads, so a scrape neither takes a lock of the data path nor a turn
//! of its workers. Everything a peer can make it hold is bounded: connections, header and body bytes, and the time of each.
//!
//! ```text
//! accept (at most 64) -> http1 (16 KiB of headers in 5 s) -> guard (rebinding, origin, token) -> routes -> Source
//! ```

pub mod console;
mod guard;
mod http;
mod prometheus;
mod routes;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::metrics::Stats;

/// What the endpoint shows and does; `app` implements it.
pub trait Source: Send + Sync + 'static {
    /// A copy of all figures.
    fn stats(&self) -> Stats;

    /// May new clients be sent here? The error says why not.
    ///
    /// # Errors
    /// In words for an operator.
    fn ready(&self) -> Result<(), String>;

    /// Drops results from memory and gives their number.
    ///
    /// # Errors
    /// In words for the caller: no such table, no such tag.
    fn purge(&self, purge: Purge) -> Result<u64, String>;

    /// Reads the config file again and gives the keys that changed.
    ///
    /// # Errors
    /// What is wrong with the file; nothing has changed then.
    fn reload(&self) -> Result<Vec<String>, String>;
}

/// What to drop from memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Purge {
    /// Results that depend on this table, `schema.table` or `table`.
    Table(String),
    /// Results under rules with this tag.
    Tag(String),
    /// Everything.
    All,
}

/// The endpoint, bound and not yet serving.
pub struct Admin {
    listener: TcpListener,
    token: Option<String>,
}

impl Admin {
    /// Binds `address`. Without a `token` only loopback peers may change anything.
    ///
    /// # Errors
    /// As `bind(2)`.
    pub async fn bind(address: SocketAddr, token: Option<&str>) -> io::Result<Self> {
        // An empty token is nobody's secret.
        let token = token.filter(|token| !token.is_empty()).map(str::to_owned);
        Ok(Self { listener: TcpListener::bind(address).await?, token })
    }

    /// Where it listens; tells the port when 0 was asked for.
    ///
    /// # Errors
    /// As `getsockname(2)`.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `stop` becomes true or its sender is gone, then lets answers in progress end for a moment.
    pub async fn run(self, source: Arc<dyn Source>, stop: watch::Receiver<bool>) {
        let context = Arc::new(routes::Context { source, token: self.token });
        http::serve(self.listener, context, stop).await;
    }
}

#[cfg(test)]
mod tests;
