//! Floor 3. LISTEN: one connection per database brings the writes made elsewhere.
//!
//! ```text
//!  suspended ── connect ── LISTEN done ── bump everything ── answering
//!      ^                                                        │ notifications: one bump per batch
//!      └── suspend first, then bump everything ── lost or silent┘
//! ```
//! A write committed before LISTEN was done is seen by every read that begins after; one committed later is notified.
//! Nothing is answered from memory in between, and no fill of that time is kept.
//! An echo of a write that went through this pgdial is not told apart yet: it moves the versions once more, which costs
//! a fill and never an answer.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use postgres_protocol::escape::escape_identifier;
use tokio::time::{sleep, timeout};
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres::{AsyncMessage, Client, Connection, Socket};

use crate::cache::{Database, Suspension};
use crate::invalidation::{Change, parse_payload};
use crate::query::Snapshot;

/// How to listen.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `[invalidation] notify`.
    pub channel: String,
    /// `[invalidation] max_lag`: a link that was silent for so long is given up.
    pub max_lag: Duration,
}

/// Gives the catalog as it is known now.
pub type Catalog = Arc<dyn Fn() -> Option<Arc<Snapshot>> + Send + Sync>;

/// The listener of one database.
pub struct Notify<T> {
    server: tokio_postgres::Config,
    tls: T,
    settings: Settings,
    database: Database,
    catalog: Catalog,
    reload: Box<dyn Fn() + Send + Sync>,
}

/// Why a link ended.
#[derive(Debug)]
enum Loss {
    Failed(tokio_postgres::Error),
    Closed,
    Silent,
}

impl<T> Notify<T>
where
    T: MakeTlsConnect<Socket> + Clone + Send + Sync + 'static,
    T::Stream: Send,
    T::TlsConnect: Send,
    <T::TlsConnect as TlsConnect<Socket>>::Future: Send,
{
    /// A listener. The database is suspended from here on until [`Notify::run`] hears. `reload` asks for a new snapshot;
    /// it is called when the feed says that the catalog may have changed.
    pub fn new(
        mut server: tokio_postgres::Config,
        tls: T,
        settings: Settings,
        database: Database,
        catalog: Catalog,
        reload: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        database.suspend(Suspension::FeedLost);
        server.application_name("pgdial feed");
        Self { server, tls, settings, database, catalog, reload: Box::new(reload) }
    }

    /// Listens for good: the task ends by being aborted.
    pub async fn run(self) {
        let mut pause = FIRST_PAUSE;
        loop {
            let mut heard = false;
            let loss = self.listen(&mut heard).await;
            // First of all: from here on nothing comes from memory.
            self.database.suspend(Suspension::FeedLost);
            tracing::warn!(database = self.database.name(), %loss, "feed lost: nothing is answered from memory");
            pause = if heard { FIRST_PAUSE } else { (pause * 2).min(LAST_PAUSE) };
            sleep(pause).await;
        }
    }

    async fn listen(&self, heard: &mut bool) -> Loss {
        let connecting = timeout(CONNECT_TIMEOUT, self.server.connect(self.tls.clone()));
        let (client, mut link) = match connecting.await {
            Ok(Ok(connected)) => connected,
            Ok(Err(error)) => return Loss::Failed(error),
            Err(_elapsed) => return Loss::Silent,
        };
        tokio::select! {
            loss = self.hear(&mut link) => loss,
            loss = self.keep(&client, heard) => loss,
        }
    }

    /// LISTEN, and then a question every now and then: a link that is cut without a word looks like one without news.
    async fn keep(&self, client: &Client, heard: &mut bool) -> Loss {
        let listen = format!("LISTEN {}", escape_identifier(&self.settings.channel));
        if let Err(loss) = ask(client, &listen, CONNECT_TIMEOUT).await {
            return loss;
        }
        self.database.resume(Suspension::FeedLost);
        *heard = true;
        tracing::info!(database = self.database.name(), channel = self.settings.channel, "feed: listening");
        // A pause and an answer together take no longer than the lag that is allowed.
        let half = (self.settings.max_lag / 2).clamp(MIN_PROBE, MAX_PROBE);
        loop {
            sleep(half).await;
            if let Err(loss) = ask(client, "SELECT 1", half).await {
                return loss;
            }
        }
    }

    async fn hear<S, U>(&self, link: &mut Connection<S, U>) -> Loss
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
        U: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    {
        poll_fn(|cx| {
            let (change, loss) = drain(cx, |cx| link.poll_message(cx), |payload| self.change(payload));
            self.apply(&change);
            loss.map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }

    /// What a payload means under the catalog as it is known now.
    fn change(&self, payload: &str) -> Change {
        let snapshot = (self.catalog)();
        // Under an older snapshot the name may have meant another table.
        let current = snapshot.as_deref().filter(|snapshot| self.database.is_current(snapshot));
        Change::of(&parse_payload(payload), current)
    }

    fn apply(&self, change: &Change) {
        self.database.apply(change);
        if *change == Change::Catalog {
            (self.reload)();
        }
    }
}

/// Takes all that has arrived, up to a bound, as one change.
fn drain<E: Into<Loss>>(
    cx: &mut Context<'_>,
    mut poll: impl FnMut(&mut Context<'_>) -> Poll<Option<Result<AsyncMessage, E>>>,
    meaning: impl Fn(&str) -> Change,
) -> (Change, Option<Loss>) {
    let mut change = Change::Nothing;
    for _ in 0..MAX_BATCH {
        match poll(cx) {
            Poll::Pending => return (change, None),
            Poll::Ready(None) => return (change, Some(Loss::Closed)),
            Poll::Ready(Some(Err(error))) => return (change, Some(error.into())),
            Poll::Ready(Some(Ok(AsyncMessage::Notification(note)))) => change = change.union(meaning(note.payload())),
            Poll::Ready(Some(Ok(_notice))) => {}
        }
    }
    // More is there: let others run, and come back.
    cx.waker().wake_by_ref();
    (change, None)
}

async fn ask(client: &Client, sql: &str, limit: Duration) -> Result<(), Loss> {
    match timeout(limit, client.batch_execute(sql)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(Loss::Failed(error)),
        Err(_elapsed) => Err(Loss::Silent),
    }
}

impl From<tokio_postgres::Error> for Loss {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Failed(error)
    }
}

impl std::fmt::Display for Loss {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Failed(error) => match error.as_db_error() {
                Some(answer) => write!(f, "{}", answer.message()),
                None => write!(f, "{error}"),
            },
            Self::Closed => f.write_str("the server closed the connection"),
            Self::Silent => f.write_str("the server did not answer in time"),
        }
    }
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LAST_PAUSE: Duration = Duration::from_secs(2);
const MIN_PROBE: Duration = Duration::from_millis(10);
const MAX_PROBE: Duration = Duration::from_secs(1);
/// Notifications taken in one go.
const MAX_BATCH: usize = 1024;

#[cfg(test)]
mod tests;
