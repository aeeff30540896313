//! Floor 4. What all logins share: the turns of those who guess, the threads that hash, and the lines in the log.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::Semaphore;
use tracing::info;

use crate::auth::{Origin, Pending, ScramVerifier, Throttle};
use crate::error::{Error, Kind, Result};
use crate::net::Peer;

/// One per process; it outlives reloads.
pub struct Guard {
    throttle: Throttle,
    /// Half of the processors: whatever the number of logins, the clients that are in go on being served.
    hashing: Arc<Semaphore>,
}

impl Default for Guard {
    fn default() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        Self { throttle: Throttle::default(), hashing: Arc::new(Semaphore::new((processors / 2).max(1))) }
    }
}

impl Guard {
    /// Milliseconds of hashing, on a thread that serves nobody. A login that is given up does not give its place away before
    /// the work is done.
    pub(super) async fn hash<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let stopped = |error| Error::new(Kind::Internal, "password check failed").with_source(error);
        let permit = Arc::clone(&self.hashing).acquire_owned().await.map_err(|_| stopped("closed".into()))?;
        let work = move || {
            let _permit = permit;
            work()
        };
        tokio::task::spawn_blocking(work).await.map_err(|error| stopped(error.to_string()))
    }

    /// Makes a verifier, once for all who wait for it.
    pub(super) async fn derive(&self, pending: &Arc<Pending>) -> Result<Arc<ScramVerifier>> {
        let deriver = Arc::clone(pending);
        let derive = || async { self.hash(move || deriver.derive()).await.map(Arc::new) };
        pending.cell.get_or_try_init(derive).await.map(Arc::clone)
    }

    /// Asks Postgres when it is this peer's turn.
    pub(super) async fn ask<T>(&self, peer: Peer, answer: impl Future<Output = T>) -> T {
        let questions = self.throttle.questions(origin(peer));
        let _turn = questions.acquire().await;
        answer.await
    }

    /// Judges a proof when it is this peer's turn. If it is wrong the answer is held back, as long for a user that does not
    /// exist as for one that does: the time counts from the beginning, so that it does not show what was computed.
    pub(super) async fn judge<T>(&self, peer: Peer, user: &str, verdict: impl Future<Output = Result<T>>) -> Result<T> {
        let origin = origin(peer);
        let turns = self.throttle.turns(origin, user);
        // Never closed; without a turn the proof would only be judged at once.
        let _turn = turns.acquire().await;
        let began = Instant::now();
        let verdict = verdict.await;
        if verdict.as_ref().is_err_and(|error| error.kind() == Kind::Auth) {
            let wait = self.throttle.failed(origin, user, Instant::now());
            tokio::time::sleep_until((began + wait).into()).await;
        }
        verdict
    }

    /// A line for the operator, unless there were many.
    pub fn log_refusal(&self, peer: Peer, error: &Error) {
        if let Some(silent) = self.throttle.line(origin(peer), Instant::now()) {
            let cause = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
            let (reason, cause) = (printable(error.message()), printable(&cause));
            info!(%peer, reason, cause, silent, "login refused");
        }
    }
}

fn origin(peer: Peer) -> Origin {
    match peer {
        Peer::Tcp(address) => Origin::from(address.ip()),
        Peer::Unix { uid } => Origin::Local(uid),
    }
}

/// User names come from anybody: no control characters, and no pages of text.
fn printable(text: &str) -> String {
    text.chars().take(300).flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}
